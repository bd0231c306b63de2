// Pooling over windows, a few channels at a time. Padding cells are left out.
struct max_pooling {
  static constexpr float start = -std::numeric_limits<float>::infinity();
  template <std::size_t L> static vec<L> add(const vec<L>& a, const vec<L>& b) noexcept { return maximum<L>(a, b); }
  template <std::size_t L> static vec<L> finish(const vec<L>& v, std::size_t, std::size_t) noexcept { return v; }
};
struct average_pooling {
  static constexpr float start = 0.0f;
  template <std::size_t L> static vec<L> add(const vec<L>& a, const vec<L>& b) noexcept { return a + b; }
  template <std::size_t L> static vec<L> finish(const vec<L>& v, std::size_t cells, std::size_t) noexcept {
    return v / static_cast<float>(cells);
  }
};
// Padding cells count in the divisor.
struct padded_average_pooling : average_pooling {
  template <std::size_t L> static vec<L> finish(const vec<L>& v, std::size_t, std::size_t taps) noexcept {
    return v / static_cast<float>(taps);
  }
};

// The taps of a window from cell o on that lie inside.
struct taps_inside {
  std::size_t first, end;
  constexpr taps_inside(std::size_t o, std::size_t n, std::size_t taps, std::size_t dilation, std::size_t pad) noexcept
      : first(o < pad ? (pad - o + dilation - 1) / dilation : 0),
        end(least(taps, n + pad > o ? (n + pad - o + dilation - 1) / dilation : 0)) {}
};

template <class S, class F, std::size_t L>
void pool_cell(const float* x, float* y, std::size_t i, std::size_t j, std::size_t k) noexcept {
  const std::size_t o[3] = {i * S::stride[0], j * S::stride[1], k * S::stride[2]};
  const taps_inside d(o[0], S::in[0], S::taps[0], S::dilation[0], S::pad[0]);
  const taps_inside h(o[1], S::in[1], S::taps[1], S::dilation[1], S::pad[1]);
  const taps_inside w(o[2], S::in[2], S::taps[2], S::dilation[2], S::pad[2]);
  vec<L> v;
  {
    float lane[L];
    for (std::size_t n = 0; n < L; ++n) lane[n] = F::start;
    v = load<L>(lane);
  }
  std::size_t cells = 0;
  for (std::size_t a = d.first; a < d.end; ++a) for (std::size_t b = h.first; b < h.end; ++b)
    for (std::size_t c = w.first; c < w.end; ++c, ++cells) {
      const std::size_t at0 = o[0] + a * S::dilation[0] - S::pad[0], at1 = o[1] + b * S::dilation[1] - S::pad[1];
      const std::size_t at2 = o[2] + c * S::dilation[2] - S::pad[2];
      v = F::template add<L>(v, load<L>(x + ((at0 * S::in[1] + at1) * S::in[2] + at2) * S::channels));
    }
  store<L>(y, F::template finish<L>(v, cells, S::taps[0] * S::taps[1] * S::taps[2]));
}

template <class S, class F, std::size_t L, std::size_t Done = 0>
void pool_channels(const float* x, float* y, std::size_t i, std::size_t j, std::size_t k) noexcept {
  constexpr std::size_t n = (S::channels - Done) / L, end = Done + n * L;
  for (std::size_t c = Done; c < end; c += L) pool_cell<S, F, L>(x + c, y + c, i, j, k);
  if constexpr (end < S::channels) pool_channels<S, F, L / 2, end>(x, y, i, j, k);
}

template <class S, class F> void pool(const float* x, float* y) noexcept {
  for (std::size_t i = 0; i < S::out[0]; ++i) for (std::size_t j = 0; j < S::out[1]; ++j)
    for (std::size_t k = 0; k < S::out[2]; ++k, y += S::channels) pool_channels<S, F, lanes>(x, y, i, j, k);
}
