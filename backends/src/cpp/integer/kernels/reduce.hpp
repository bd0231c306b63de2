// Reductions over some axes. S::kept are the loops over the axes that stay, but for the last `run` neighbouring
// elements, which are reduced side by side; S::gone are the loops over the axes that vanish. The low bits of sums and
// products stay; `Width` and `Signed` are those of the type.
struct reduce_sum {
  template <class A> static constexpr A apply(A a, A x) noexcept { return add(a, x); }
};
struct reduce_sum_square {
  template <class A> static constexpr A apply(A a, A x) noexcept { return add(a, mul(x, x)); }
};
struct reduce_prod {
  template <class A> static constexpr A apply(A a, A x) noexcept { return mul(a, x); }
};
struct reduce_max {
  template <class A> static constexpr A apply(A a, A x) noexcept { return x > a ? x : a; }
};
struct reduce_min {
  template <class A> static constexpr A apply(A a, A x) noexcept { return x < a ? x : a; }
};

template <class S, class F, unsigned Width, bool Signed, class A, std::size_t N, class T>
void reduce_cells(const T* x, T* y, A start) noexcept {
  A total[N];
  for (std::size_t i = 0; i < N; ++i) total[i] = start;
  nest<typename S::gone>(0, 0, [&](std::size_t at, std::size_t) {
    for (std::size_t i = 0; i < N; ++i) total[i] = F::apply(total[i], static_cast<A>(x[at + i]));
  });
  for (std::size_t i = 0; i < N; ++i) y[i] = static_cast<T>(wrap<Width, Signed>(total[i]));
}

template <class S, class F, unsigned Width, bool Signed, class A, class T> void reduce(const T* x, T* y, A start) noexcept {
  constexpr std::size_t N = least(32, S::run), rest = S::run % N;
  nest<typename S::kept>(0, 0, [&](std::size_t at, std::size_t) {
    for (std::size_t c = 0; c + N <= S::run; c += N) reduce_cells<S, F, Width, Signed, A, N>(x + at + c, y + c, start);
    if constexpr (rest > 0)
      reduce_cells<S, F, Width, Signed, A, rest>(x + at + (S::run - rest), y + (S::run - rest), start);
    y += S::run;
  });
}
