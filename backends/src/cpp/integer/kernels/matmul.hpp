// Products of matrices that are both computed; `nest` runs over the leading axes. A piece of a row at a time.
template <class S, class Post, class A, std::size_t N, class T, class W, class Y>
void matmul_cells(const T* x, const W* w, Y* y, std::size_t c) noexcept {
  A sum[N];
  for (std::size_t n = 0; n < N; ++n) sum[n] = 0;
  for (std::size_t k = 0; k < S::depth; ++k, w += S::columns) {
    const A value = static_cast<A>(x[k]);
    for (std::size_t n = 0; n < N; ++n) sum[n] = add(sum[n], mul(value, static_cast<A>(w[n])));
  }
  finish<Post, N>(sum, y, c);
}

template <class S, class Post, class A, class T, class W, class Y> void matmul(const T* x, const W* w, Y* y) noexcept {
  constexpr std::size_t N = least(32, S::columns), rest = S::columns % N;
  nest<S>(0, 0, [&](std::size_t a, std::size_t b) {
    for (std::size_t row = 0; row < S::rows; ++row, y += S::columns) {
      const T* in = x + a + row * S::depth;
      for (std::size_t c = 0; c + N <= S::columns; c += N) matmul_cells<S, Post, A, N>(in, w + b + c, y + c, c);
      if constexpr (rest > 0) {
        constexpr std::size_t from = S::columns - rest;
        matmul_cells<S, Post, A, rest>(in, w + b + from, y + from, from);
      }
    }
  });
}
