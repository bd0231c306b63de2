// y = activation(gamma (x - mean) / sqrt(variance + eps) + beta), statistics along the middle of three axes;
// x and y may be the same.
template <class S, class Act>
void batch_norm(const float* x, const float* gamma, const float* beta, const float* mean, const float* variance, float* y) noexcept {
  for (std::size_t i = 0; i < S::extent[0]; ++i) for (std::size_t c = 0; c < S::extent[1]; ++c) {
    const float g = gamma[c], b = beta[c], m = mean[c], deviation = std::sqrt(variance[c] + S::eps);
    for (std::size_t j = 0; j < S::extent[2]; ++j, ++x, ++y) *y = Act::apply(g * (*x - m) / deviation + b);
  }
}
