// Cells from places that are known when this is compiled: S::from holds, axis by axis, where in x each index of the
// result comes from; S::first says where the places of an axis begin.
template <class S, std::size_t Axis = 0, class T> T* pick(const T* x, T* y) noexcept {
  if constexpr (Axis == sizeof S::extent / sizeof(std::size_t)) {
    std::memcpy(y, x, S::run * sizeof(T));
    return y + S::run;
  } else {
    for (std::size_t i = 0; i < S::extent[Axis]; ++i) y = pick<S, Axis + 1>(x + S::from[S::first[Axis] + i], y);
    return y;
  }
}
