// Reductions over some axes. S::kept are the loops over the axes that stay, but for the last `run` neighbouring
// elements, which are reduced side by side; S::gone are the loops over the axes that vanish. Sums are taken in
// parts of 32, which keeps rounding errors small.
struct reduce_sum {
  static constexpr float start = 0.0f;
  static float add(float a, float b) noexcept { return a + b; }
  static float prepare(float x) noexcept { return x; }
  static float finish(float sum, std::size_t) noexcept { return sum; }
};
struct reduce_mean : reduce_sum {
  static float finish(float sum, std::size_t n) noexcept { return sum / static_cast<float>(n); }
};
struct reduce_sum_square : reduce_sum {
  static float prepare(float x) noexcept { return x * x; }
};
struct reduce_prod : reduce_sum {
  static constexpr float start = 1.0f;
  static float add(float a, float b) noexcept { return a * b; }
};
// NaN, once seen, stays.
struct reduce_max : reduce_sum {
  static constexpr float start = -std::numeric_limits<float>::infinity();
  static float add(float a, float b) noexcept { return a != a || !(b > a || b != b) ? a : b; }
};
struct reduce_min : reduce_sum {
  static constexpr float start = std::numeric_limits<float>::infinity();
  static float add(float a, float b) noexcept { return a != a || !(b < a || b != b) ? a : b; }
};

template <class S, class F, std::size_t L> void reduce_lanes(const float* x, float* y) noexcept {
  float total[L], part[L];
  for (std::size_t i = 0; i < L; ++i) total[i] = part[i] = F::start;
  std::size_t n = 0;
  nest<typename S::gone>(0, 0, [&](std::size_t at, std::size_t) {
    for (std::size_t i = 0; i < L; ++i) part[i] = F::add(part[i], F::prepare(x[at + i]));
    if (++n % 32 == 0)
      for (std::size_t i = 0; i < L; ++i) {
        total[i] = F::add(total[i], part[i]);
        part[i] = F::start;
      }
  });
  for (std::size_t i = 0; i < L; ++i) y[i] = F::finish(F::add(total[i], part[i]), n);
}

template <class S, class F, std::size_t L, std::size_t Done = 0> void reduce_run(const float* x, float* y) noexcept {
  constexpr std::size_t n = (S::run - Done) / L, end = Done + n * L;
  for (std::size_t c = Done; c < end; c += L) reduce_lanes<S, F, L>(x + c, y + c);
  if constexpr (end < S::run) reduce_run<S, F, L / 4, end>(x, y);
}

template <class S, class F> void reduce(const float* x, float* y) noexcept {
  nest<typename S::kept>(0, 0, [&](std::size_t at, std::size_t) {
    reduce_run<S, F, 16>(x + at, y);
    y += S::run;
  });
}
