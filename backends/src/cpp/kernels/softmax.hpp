// Softmax, or its logarithm, over the loops S::gone, for each cell of the loops S::kept; x and y may be the same.
template <class S, bool Log> void softmax(const float* x, float* y) noexcept {
  nest<typename S::kept>(0, 0, [=](std::size_t cell, std::size_t) {
    float most = -std::numeric_limits<float>::infinity(), total = 0.0f, part = 0.0f;
    std::size_t n = 0;
    nest<typename S::gone>(cell, 0, [&](std::size_t at, std::size_t) { most = x[at] > most ? x[at] : most; });
    nest<typename S::gone>(cell, 0, [&](std::size_t at, std::size_t) {
      const float value = std::exp(x[at] - most);
      if constexpr (!Log) y[at] = value;
      part += value;
      if (++n % 32 == 0) {
        total += part;
        part = 0.0f;
      }
    });
    total += part;
    if constexpr (Log) {
      const float shift = std::log(total);
      nest<typename S::gone>(cell, 0, [&](std::size_t at, std::size_t) { y[at] = x[at] - most - shift; });
    } else {
      nest<typename S::gone>(cell, 0, [&](std::size_t at, std::size_t) { y[at] /= total; });
    }
  });
}
