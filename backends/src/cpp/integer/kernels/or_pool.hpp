// Max pooling of packed cells: OR. Cells of padding are left out, which is as if their bits were 0.
template <class S> void or_pool(const std::uint64_t* x, std::uint64_t* y) noexcept {
  for (std::size_t i = 0; i < S::out[0]; ++i) for (std::size_t j = 0; j < S::out[1]; ++j)
    for (std::size_t k = 0; k < S::out[2]; ++k, y += S::depth) {
      const std::size_t o[3] = {i * S::stride[0], j * S::stride[1], k * S::stride[2]};
      const taps_inside d(o[0], S::in[0], S::taps[0], S::dilation[0], S::pad[0]);
      const taps_inside h(o[1], S::in[1], S::taps[1], S::dilation[1], S::pad[1]);
      const taps_inside w(o[2], S::in[2], S::taps[2], S::dilation[2], S::pad[2]);
      for (std::size_t n = 0; n < S::depth; ++n) y[n] = 0;
      for (std::size_t a = d.first; a < d.end; ++a) for (std::size_t b = h.first; b < h.end; ++b)
        for (std::size_t c = w.first; c < w.end; ++c) {
          const std::size_t at0 = o[0] + a * S::dilation[0] - S::pad[0], at1 = o[1] + b * S::dilation[1] - S::pad[1];
          const std::size_t at2 = o[2] + c * S::dilation[2] - S::pad[2];
          const std::uint64_t* const from = x + ((at0 * S::in[1] + at1) * S::in[2] + at2) * S::depth;
          for (std::size_t n = 0; n < S::depth; ++n) y[n] |= from[n];
        }
    }
}
