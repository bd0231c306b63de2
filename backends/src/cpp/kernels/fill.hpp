inline void fill(float* y, std::size_t n, float value) noexcept {
  for (std::size_t i = 0; i < n; ++i) y[i] = value;
}
