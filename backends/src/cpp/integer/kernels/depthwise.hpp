// Convolutions of each channel with its own filter, a few channels at a time. Weights lie as [tap][channel]; x holds
// its padding.
template <class S, class Post, class A, std::size_t N, class T, class W, class Y>
void depthwise_cell(const T* x, const W* w, const A* bias, Y* y, std::size_t c) noexcept {
  A sum[N];
  for (std::size_t n = 0; n < N; ++n) sum[n] = S::has_bias ? bias[n] : 0;
  for (std::size_t d = 0; d < S::taps[0]; ++d) for (std::size_t h = 0; h < S::taps[1]; ++h)
    for (std::size_t v = 0; v < S::taps[2]; ++v, w += S::channels) {
      const T* tap = x + d * S::reach[0] + h * S::reach[1] + v * S::reach[2];
      for (std::size_t n = 0; n < N; ++n) sum[n] = add(sum[n], mul(static_cast<A>(tap[n]), static_cast<A>(w[n])));
    }
  finish<Post, N>(sum, y, c);
}

template <class S, class Post, class A, class T, class W, class Y> void depthwise(const T* x, const W* w, const A* bias, Y* y) noexcept {
  constexpr std::size_t N = least(32, S::channels), rest = S::channels % N;
  for (std::size_t i = 0; i < S::out[0]; ++i) for (std::size_t j = 0; j < S::out[1]; ++j)
    for (std::size_t k = 0; k < S::out[2]; ++k, y += S::channels) {
      const T* in = x + i * S::step[0] + j * S::step[1] + k * S::step[2];
      for (std::size_t c = 0; c + N <= S::channels; c += N) depthwise_cell<S, Post, A, N>(in + c, w + c, S::has_bias ? bias + c : bias, y + c, c);
      if constexpr (rest > 0) {
        constexpr std::size_t from = S::channels - rest;
        depthwise_cell<S, Post, A, rest>(in + from, w + from, S::has_bias ? bias + from : bias, y + from, from);
      }
    }
}
