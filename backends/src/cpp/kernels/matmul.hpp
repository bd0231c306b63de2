// Products of matrices that are both computed; `nest` runs over the leading axes.
template <class S, class Act> void matmul(const float* x, const float* z, float* y) noexcept {
  nest<S>(0, 0, [&](std::size_t a, std::size_t b) {
    conv<S, Act>(x + a, z + b, z, y);
    y += S::out[2] * S::channels;
  });
}
