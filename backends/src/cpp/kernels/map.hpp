// y = activation(x), element by element; x and y may be the same.
template <class Act> void map(const float* x, float* y, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) y[i] = Act::apply(x[i]);
}
