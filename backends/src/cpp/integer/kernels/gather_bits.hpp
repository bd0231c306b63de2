// The words that n output cells from the first one on see, S::row to a cell. Taps outside are 0. Dense rows have no gaps
// between their taps; the bits of a cell behind its last code are 0, so they spoil no other.
template <class S> const std::uint64_t* gather_bits(const std::uint64_t* x, std::size_t first, std::size_t n,
                                                    std::uint64_t* rows) noexcept {
  if constexpr (S::direct) {
    static_cast<void>(n);
    static_cast<void>(rows);
    return x + first * S::row;
  } else {
    std::uint64_t* row = rows;
    for (std::size_t p = first; p < first + n; ++p, row += S::row) {
      const std::size_t o[3] = {p / (S::out[1] * S::out[2]) * S::stride[0], p / S::out[2] % S::out[1] * S::stride[1],
                                p % S::out[2] * S::stride[2]};
      const taps_inside d(o[0], S::in[0], S::taps[0], S::dilation[0], S::pad[0]);
      const taps_inside h(o[1], S::in[1], S::taps[1], S::dilation[1], S::pad[1]);
      const taps_inside w(o[2], S::in[2], S::taps[2], S::dilation[2], S::pad[2]);
      const auto all = [](const taps_inside& t, std::size_t taps) { return t.first == 0 && t.end == taps; };
      if (S::dense || !all(d, S::taps[0]) || !all(h, S::taps[1]) || !all(w, S::taps[2]))
        std::memset(row, 0, S::row * sizeof *row);
      if (w.first >= w.end) continue;
      for (std::size_t a = d.first; a < d.end; ++a) for (std::size_t b = h.first; b < h.end; ++b) {
        const std::size_t at0 = o[0] + a * S::dilation[0] - S::pad[0], at1 = o[1] + b * S::dilation[1] - S::pad[1];
        const std::uint64_t* const from = x + (at0 * S::in[1] + at1) * S::in[2] * S::depth;
        const std::size_t tap = (a * S::taps[1] + b) * S::taps[2];
        if constexpr (S::dense) {
          for (std::size_t c = w.first; c < w.end; ++c) {
            const std::uint64_t* const cell = from + (o[2] + c * S::dilation[2] - S::pad[2]) * S::depth;
            std::size_t bit = (tap + c) * S::inputs;
            for (std::size_t i = 0; i < S::depth; ++i, bit += 64) {
              row[bit / 64] |= cell[i] << bit % 64;
              if (bit % 64 > 0 && bit / 64 + 1 < S::row) row[bit / 64 + 1] |= cell[i] >> (64 - bit % 64);
            }
          }
        } else if constexpr (S::dilation[2] == 1) {
          // Neighbouring cells lie together.
          std::memcpy(row + (tap + w.first) * S::depth, from + (o[2] + w.first - S::pad[2]) * S::depth,
                      (w.end - w.first) * S::depth * sizeof *row);
        } else {
          for (std::size_t c = w.first; c < w.end; ++c)
            std::memcpy(row + (tap + c) * S::depth, from + (o[2] + c * S::dilation[2] - S::pad[2]) * S::depth,
                        S::depth * sizeof *row);
        }
      }
    }
    return rows;
  }
}

// The border class of an output cell: the cells of a class see the same taps. Where all are of one kind along an axis, one
// number says it.
template <class S> std::size_t border_class(std::size_t p) noexcept {
  const std::size_t i = S::kind_0[S::kinds[0] > 1 ? p / (S::out[1] * S::out[2]) : 0];
  const std::size_t j = S::kind_1[S::kinds[1] > 1 ? p / S::out[2] % S::out[1] : 0];
  const std::size_t k = S::kind_2[S::kinds[2] > 1 ? p % S::out[2] : 0];
  return (i * S::kinds[1] + j) * S::kinds[2] + k;
}

// Channels in whole groups.
template <class S> constexpr std::size_t groups_of() noexcept { return (S::channels + 7) / 8 * 8; }

// Memory for the rows of a tile.
template <class S> std::uint64_t* tile_rows(unsigned char* memory) noexcept {
  if constexpr (S::direct) {
    static_cast<void>(memory);
    return nullptr;
  } else {
    return place<std::uint64_t>(memory, S::tile * S::row);
  }
}
