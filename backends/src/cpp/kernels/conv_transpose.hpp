// Transposed convolution: tap by tap, each row of x adds its product with the tap's weights to a row of y, whose
// cells lie a stride apart. Weights are packed as for conv.
template <class S> struct scattered {
  static constexpr std::size_t out[3] = {1, 1, 1}, step[3] = {0, 0, S::in_channels}, taps[3] = {1, 1, 1}, reach[3] = {0, 0, 0};
  static constexpr std::size_t run = S::run, channels = S::stride[2] * S::channels, row = 0;
  static constexpr bool has_bias = false;
};

// The input cells along one axis whose product with tap `t` lands inside, and where the first one lands.
template <class S> struct landing {
  std::size_t first, end, at;
  constexpr landing(std::size_t axis, std::size_t t) noexcept : first(0), end(0), at(0) {
    const std::size_t shift = t * S::dilation[axis], crop = S::crop[axis], stride = S::stride[axis];
    first = shift < crop ? (crop - shift + stride - 1) / stride : 0;
    end = least(S::in[axis], S::out[axis] + crop > shift ? (S::out[axis] + crop - shift + stride - 1) / stride : 0);
    at = first * stride + shift - crop;
  }
};

template <class S, std::size_t B, std::size_t Valid>
void conv_transpose_block(const float* x, const float* w, float* y) noexcept {
  using tile = scattered<S>;
  constexpr std::size_t L = least(B, lanes), V = least(B / L, registers == 32 ? 4 : 2), Q = least(14, accumulators / V);
  for (std::size_t i = 0; i < S::taps[0]; ++i) for (std::size_t j = 0; j < S::taps[1]; ++j)
    for (std::size_t k = 0; k < S::taps[2]; ++k, w += S::run * B) {
      const landing<S> planes(0, i), rows(1, j), columns(2, k);
      for (std::size_t d = planes.first; d < planes.end; ++d) for (std::size_t h = rows.first; h < rows.end; ++h) {
        const std::size_t plane = planes.at + (d - planes.first) * S::stride[0], row = rows.at + (h - rows.first) * S::stride[1];
        const float* in = x + ((d * S::in[1] + h) * S::in[2] + columns.first) * S::in_channels;
        float* out = y + ((plane * S::out[1] + row) * S::out[2] + columns.at) * S::channels;
        std::size_t c = columns.first;
        for (; c + Q <= columns.end; c += Q, in += Q * S::in_channels, out += Q * tile::channels)
          conv_tile<tile, identity, B, Valid, 1, Q>(in, w, w, out, S::run, false, false);
        for (; c + 4 <= columns.end; c += 4, in += 4 * S::in_channels, out += 4 * tile::channels)
          conv_tile<tile, identity, B, Valid, 1, 4>(in, w, w, out, S::run, false, false);
        for (; c < columns.end; ++c, in += S::in_channels, out += tile::channels)
          conv_tile<tile, identity, B, Valid, 1, 1>(in, w, w, out, S::run, false, false);
      }
    }
}

template <class S, std::size_t Done = 0> void conv_transpose_blocks(const float* x, const float* w, float* y) noexcept {
  constexpr std::size_t rest = S::group_out - Done, B = block_width(rest, true), n = rest < B ? 1 : rest / B;
  constexpr std::size_t depth = S::taps[0] * S::taps[1] * S::taps[2] * S::run;
  for (std::size_t i = Done; i < Done + n * B; i += B) conv_transpose_block<S, B, least(B, rest)>(x, w + i * depth, y + i);
  if constexpr (n * B < rest) conv_transpose_blocks<S, Done + n * B>(x, w, y);
}

// Cells that no tap reaches hold the bias alone. The bias is not packed.
template <class S, class Act> void conv_transpose(const float* x, const float* w, const float* bias, float* y) noexcept {
  constexpr std::size_t cells = S::out[0] * S::out[1] * S::out[2];
  for (std::size_t i = 0; i < cells; ++i) for (std::size_t c = 0; c < S::channels; ++c)
    y[i * S::channels + c] = S::has_bias ? bias[c] : 0.0f;
  for (std::size_t g = 0; g < S::groups; ++g)
    conv_transpose_blocks<S>(x + g * S::run, w + g * S::group_weights, y + g * S::group_out);
  if constexpr (!std::is_same_v<Act, identity>) activate<Act>(y, cells * S::channels);
}
