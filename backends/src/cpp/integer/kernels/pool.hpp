// The greatest element of each window, a few channels at a time. Padding cells are left out.
template <class S, std::size_t N, class T>
void max_pool_cell(const T* x, T* y, std::size_t i, std::size_t j, std::size_t k, T start) noexcept {
  const std::size_t o[3] = {i * S::stride[0], j * S::stride[1], k * S::stride[2]};
  const taps_inside d(o[0], S::in[0], S::taps[0], S::dilation[0], S::pad[0]);
  const taps_inside h(o[1], S::in[1], S::taps[1], S::dilation[1], S::pad[1]);
  const taps_inside w(o[2], S::in[2], S::taps[2], S::dilation[2], S::pad[2]);
  T best[N];
  for (std::size_t n = 0; n < N; ++n) best[n] = start;
  for (std::size_t a = d.first; a < d.end; ++a) for (std::size_t b = h.first; b < h.end; ++b)
    for (std::size_t c = w.first; c < w.end; ++c) {
      const std::size_t at0 = o[0] + a * S::dilation[0] - S::pad[0], at1 = o[1] + b * S::dilation[1] - S::pad[1];
      const std::size_t at2 = o[2] + c * S::dilation[2] - S::pad[2];
      const T* from = x + ((at0 * S::in[1] + at1) * S::in[2] + at2) * S::channels;
      for (std::size_t n = 0; n < N; ++n) best[n] = from[n] > best[n] ? from[n] : best[n];
    }
  std::memcpy(y, best, sizeof best);
}

template <class S, class T> void max_pool(const T* x, T* y, T start) noexcept {
  constexpr std::size_t N = least(64, S::channels), rest = S::channels % N;
  for (std::size_t i = 0; i < S::out[0]; ++i) for (std::size_t j = 0; j < S::out[1]; ++j)
    for (std::size_t k = 0; k < S::out[2]; ++k, y += S::channels) {
      for (std::size_t c = 0; c + N <= S::channels; c += N) max_pool_cell<S, N>(x + c, y + c, i, j, k, start);
      if constexpr (rest > 0)
        max_pool_cell<S, rest>(x + (S::channels - rest), y + (S::channels - rest), i, j, k, start);
    }
}
