// A layer of -1 and +1 and its thresholds, in bits: bit 1 where a cell differs from the weights of a channel in at most as
// many bits as the limit of its border class says.
template <class S> void xnor_bits(const std::uint64_t* x, const std::uint64_t* weights, const std::int32_t* limits,
                                  unsigned char* memory, std::uint64_t* y) noexcept {
  constexpr std::size_t cells = S::out[0] * S::out[1] * S::out[2], stride = (S::channels + 63) / 64;
  std::uint64_t* const rows = tile_rows<S>(memory);
  for (std::size_t i = 0; i < cells * stride; ++i) y[i] = 0;
  for (std::size_t first = 0; first < cells; first += S::tile, y += S::tile * stride) {
    const std::size_t n = least(S::tile, cells - first);
    const std::uint64_t* const seen = gather_bits<S>(x, first, n, rows);
    const std::int32_t* limit[S::tile];
    for (std::size_t p = 0; p < n; ++p) limit[p] = limits + border_class<S>(first + p) * groups_of<S>();
    for (std::size_t c = 0; c < S::channels; c += 8)
      within(seen, n, S::row, weights + c * S::row, limit, c, y + c / 64, stride, c % 64);
  }
}
