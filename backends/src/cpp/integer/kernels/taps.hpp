// The taps of a window that begins o cells behind the start of its padding which lie inside of n cells.
struct taps_inside {
  std::size_t first, end;
  constexpr taps_inside(std::size_t o, std::size_t n, std::size_t taps, std::size_t dilation, std::size_t pad) noexcept
      : first(o < pad ? (pad - o + dilation - 1) / dilation : 0),
        end(least(taps, n + pad > o ? (n + pad - o + dilation - 1) / dilation : 0)) {}
};
