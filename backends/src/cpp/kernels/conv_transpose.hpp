// Transposed convolution, seen from the result: the cell at o, `crop` included, gets tap t of the input cell
// (o - t * dilation) / stride, where that is a whole number and inside.
struct source {
  std::size_t at;
  bool inside;
  constexpr source(std::size_t o, std::size_t t, std::size_t stride, std::size_t n) noexcept
      : at(o < t ? 0 : (o - t) / stride), inside(o >= t && (o - t) % stride == 0 && at < n) {}
};

template <class S, class Act, std::size_t B, std::size_t Valid>
void conv_transpose_cell(const float* x, const float* w, const float* bias, float* y, const std::size_t (&o)[3]) noexcept {
  constexpr std::size_t L = least(B, lanes), V = least(B / L, 8);
  for (std::size_t from = 0; from < Valid; from += V * L) {
    vec<L> sum[V];
    UNFLOAT_UNROLL for (std::size_t v = 0; v < V; ++v) {
      sum[v] = vec<L>{};
      if constexpr (S::has_bias) sum[v] = load<L>(bias + from + v * L);
    }
    for (std::size_t i = 0; i < S::taps[0]; ++i) for (std::size_t j = 0; j < S::taps[1]; ++j)
      for (std::size_t k = 0; k < S::taps[2]; ++k) {
        const source d(o[0], i * S::dilation[0], S::stride[0], S::in[0]);
        const source h(o[1], j * S::dilation[1], S::stride[1], S::in[1]);
        const source c(o[2], k * S::dilation[2], S::stride[2], S::in[2]);
        if (!d.inside || !h.inside || !c.inside) continue;
        const float* in = x + ((d.at * S::in[1] + h.at) * S::in[2] + c.at) * S::in_channels;
        const float* weight = w + ((i * S::taps[1] + j) * S::taps[2] + k) * S::run * B + from;
        for (std::size_t n = 0; n < S::run; ++n, weight += B)
          UNFLOAT_UNROLL for (std::size_t v = 0; v < V; ++v) sum[v] = sum[v] + in[n] * load<L>(weight + v * L);
      }
    UNFLOAT_UNROLL for (std::size_t v = 0; v < V; ++v) {
      const vec<L> total = clamp<Act, L>(sum[v]);
      const std::size_t c = from + v * L;
      if (c < Valid) std::memcpy(y + c, &total, least(L, Valid - c) * sizeof(float));
    }
    if constexpr (is_late<Act>) activate<Act>(y + from, least(V * L, Valid - from));
  }
}

template <class S, class Act, std::size_t Done = 0>
void conv_transpose_blocks(const float* x, const float* w, const float* bias, float* y, const std::size_t (&o)[3]) noexcept {
  constexpr std::size_t rest = S::group_out - Done, B = block_width(rest, true), n = rest < B ? 1 : rest / B;
  constexpr std::size_t depth = S::taps[0] * S::taps[1] * S::taps[2] * S::run;
  for (std::size_t i = Done; i < Done + n * B; i += B)
    conv_transpose_cell<S, Act, B, least(B, rest)>(x, w + i * depth, bias + i, y + i, o);
  if constexpr (n * B < rest) conv_transpose_blocks<S, Act, Done + n * B>(x, w, bias, y, o);
}

// Weights are packed as for conv.
template <class S, class Act> void conv_transpose(const float* x, const float* w, const float* bias, float* y) noexcept {
  for (std::size_t i = 0; i < S::out[0]; ++i) for (std::size_t j = 0; j < S::out[1]; ++j)
    for (std::size_t k = 0; k < S::out[2]; ++k) {
      const std::size_t o[3] = {i + S::crop[0], j + S::crop[1], k + S::crop[2]};
      float* cell = y + ((i * S::out[1] + j) * S::out[2] + k) * S::channels;
      for (std::size_t g = 0; g < S::groups; ++g)
        conv_transpose_blocks<S, Act>(x + g * S::run, w + g * S::group_weights, bias + g * S::group_bias, cell + g * S::group_out, o);
    }
}
