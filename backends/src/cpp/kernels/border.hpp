// More cells at the borders: the inside mirrored (Mirror), or the border cell repeated.
template <class S, bool Mirror, std::size_t Axis = 0> void border(const float* x, float*& y) noexcept {
  if constexpr (Axis == sizeof S::extent / sizeof(std::size_t)) {
    std::memcpy(y, x, S::run * sizeof(float));
    y += S::run;
  } else {
    constexpr std::size_t n = S::extent[Axis], before = S::before[Axis];
    for (std::size_t o = 0; o < before + n + S::after[Axis]; ++o) {
      const std::size_t low = Mirror ? before - o : 0, high = Mirror ? 2 * (n - 1) - (o - before) : n - 1;
      border<S, Mirror, Axis + 1>(x + (o < before ? low : o - before < n ? o - before : high) * S::stride[Axis], y);
    }
  }
}
