// y = activation(gamma (x - mean) / sqrt(variance + eps) + beta), channel by channel; x and y may be the same.
template <class S, class Act>
void batch_norm(const float* x, const float* gamma, const float* beta, const float* mean, const float* variance, float* y) noexcept {
  for (std::size_t i = 0; i < S::cells; ++i, x += S::channels, y += S::channels)
    for (std::size_t c = 0; c < S::channels; ++c)
      y[c] = Act::apply(gamma[c] * (x[c] - mean[c]) / std::sqrt(variance[c] + S::eps) + beta[c]);
}
