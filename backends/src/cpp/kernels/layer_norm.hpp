// y = gamma (x - mean(x)) / sqrt(var(x) + eps) + beta over the loops S::gone, for each cell of the loops S::kept;
// x and y may be the same.
template <class S> float mean_of(const float* x, float offset, bool square) noexcept {
  float total = 0.0f, part = 0.0f;
  std::size_t n = 0;
  nest<typename S::gone>(0, 0, [&](std::size_t at, std::size_t) {
    const float value = x[at] - offset;
    part += square ? value * value : value;
    if (++n % 32 == 0) {
      total += part;
      part = 0.0f;
    }
  });
  return (total + part) / static_cast<float>(n);
}

template <class S> void layer_norm(const float* x, const float* gamma, const float* beta, float* y) noexcept {
  nest<typename S::kept>(0, 0, [=](std::size_t cell, std::size_t) {
    const float mean = mean_of<S>(x + cell, 0.0f, false), variance = mean_of<S>(x + cell, mean, true);
    const float deviation = std::sqrt(variance + S::eps);
    // The second offset counts the elements: gamma and beta lie in their order.
    nest<typename S::gone>(cell, 0, [&](std::size_t at, std::size_t i) { y[at] = (x[at] - mean) / deviation * gamma[i] + beta[i]; });
  });
}
