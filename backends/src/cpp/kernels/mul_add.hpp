// x * a + c, rounded once, with a factor and a term for each channel.
template <class S>
void mul_add(const float* x, const float* a, const float* c, float* y) noexcept {
  for (std::size_t i = 0; i < S::cells; ++i, x += S::channels, y += S::channels)
    for (std::size_t k = 0; k < S::channels; ++k) y[k] = std::fma(x[k], a[k], c[k]);
}
