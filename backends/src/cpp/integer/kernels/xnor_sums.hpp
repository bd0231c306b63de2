// Sums of a layer of -1 and +1: what the border class has where nothing differs, less two for each bit that does. Post
// makes results of the sums.
template <class S, class Post, class Y> void xnor_sums(const std::uint64_t* x, const std::uint64_t* weights,
                                                       const std::int32_t* bases, unsigned char* memory, Y* y) noexcept {
  constexpr std::size_t cells = S::out[0] * S::out[1] * S::out[2], rest = S::channels % 8;
  std::uint64_t* const rows = tile_rows<S>(memory);
  for (std::size_t first = 0; first < cells; first += S::tile, y += S::tile * S::channels) {
    const std::size_t n = least(S::tile, cells - first);
    const std::uint64_t* const seen = gather_bits<S>(x, first, n, rows);
    for (std::size_t c = 0; c < S::channels; c += 8) {
      std::uint32_t counts[S::tile * 8];
      differing(seen, n, S::row, weights + c * S::row, counts);
      for (std::size_t p = 0; p < n; ++p) {
        const std::int32_t* const base = bases + border_class<S>(first + p) * groups_of<S>() + c;
        std::int32_t sum[8];
        for (std::size_t l = 0; l < 8; ++l) sum[l] = base[l] - 2 * static_cast<std::int32_t>(counts[p * 8 + l]);
        if constexpr (rest == 0) {
          finish<Post, 8>(sum, y + p * S::channels + c, c);
        } else {
          if (c + 8 <= S::channels) finish<Post, 8>(sum, y + p * S::channels + c, c);
          else finish<Post, rest>(sum, y + p * S::channels + c, c);
        }
      }
    }
  }
}
