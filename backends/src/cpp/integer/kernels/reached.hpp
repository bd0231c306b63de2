// How many of N rising thresholds x reaches: few are counted, many are searched by halves.
template <std::size_t N, class T, class L> std::int32_t reached(T x, const L* limits) noexcept {
  std::size_t from = 0;
  for (std::size_t left = N; left > 0;) {
    const std::size_t half = left - left / 2;
    from += x >= limits[from + half - 1] ? half : 0;
    left -= half;
  }
  return static_cast<std::int32_t>(from);
}
