// y = activation(fma(x, a, c)) with a = gamma (1 / sqrt(variance + eps)) and c = fma(-mean, a, beta), channel by channel,
// each step in single precision, as PyTorch computes it; x and y may be the same.
template <class S, class Act>
void fused_batch_norm(const float* x, const float* gamma, const float* beta, const float* mean, const float* variance, float* y) noexcept {
  for (std::size_t c = 0; c < S::channels; ++c) {
    const float a = 1.0f / std::sqrt(variance[c] + S::eps) * gamma[c];
    const float b = std::fma(-mean[c], a, beta[c]);
    for (std::size_t i = c; i < S::cells * S::channels; i += S::channels) y[i] = Act::apply(std::fma(x[i], a, b));
  }
}
