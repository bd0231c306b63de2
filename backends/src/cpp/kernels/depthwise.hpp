// A convolution in which each channel has a kernel of its own: y[c] = activation(sum of w[tap][c] x[tap][c] + bias[c]).
// The fields of S are those of conv.
template <class S, class Act, std::size_t L, std::size_t P>
void depthwise_tile(const float* x, const float* w, const float* bias, float* y) noexcept {
  vec<L> sum[P];
  UNFLOAT_UNROLL for (std::size_t p = 0; p < P; ++p) {
    sum[p] = vec<L>{};
    if constexpr (S::has_bias) sum[p] = load<L>(bias);
  }
  for (std::size_t i = 0; i < S::taps[0]; ++i) for (std::size_t j = 0; j < S::taps[1]; ++j)
    for (std::size_t k = 0; k < S::taps[2]; ++k, w += S::channels) {
      const float* in = x + i * S::reach[0] + j * S::reach[1] + k * S::reach[2];
      const vec<L> weight = load<L>(w);
      UNFLOAT_UNROLL for (std::size_t p = 0; p < P; ++p) sum[p] = sum[p] + weight * load<L>(in + p * S::step[2]);
    }
  UNFLOAT_UNROLL for (std::size_t p = 0; p < P; ++p) store<L>(y + p * S::channels, clamp<Act, L>(sum[p]));
  if constexpr (is_late<Act>)
    for (std::size_t p = 0; p < P; ++p) activate<Act>(y + p * S::channels, L);
}

// The channels from Done on, as many at a time as fit, for P neighbouring columns.
template <class S, class Act, std::size_t P, std::size_t L, std::size_t Done = 0>
void depthwise_channels(const float* x, const float* w, const float* bias, float* y) noexcept {
  constexpr std::size_t n = (S::channels - Done) / L, end = Done + n * L;
  for (std::size_t c = Done; c < end; c += L) depthwise_tile<S, Act, L, P>(x + c, w + c, bias + c, y + c);
  if constexpr (end < S::channels) depthwise_channels<S, Act, P, L / 2, end>(x, w, bias, y);
}

template <class S, class Act> void depthwise(const float* x, const float* w, const float* bias, float* y) noexcept {
  constexpr std::size_t P = least(S::out[2], 8);
  for (std::size_t d = 0; d < S::out[0]; ++d) for (std::size_t h = 0; h < S::out[1]; ++h) {
    const float* in = x + d * S::step[0] + h * S::step[1];
    float* out = y + (d * S::out[1] + h) * S::out[2] * S::channels;
    for (std::size_t t = 0; t < S::out[2] / P; ++t)
      depthwise_channels<S, Act, P, lanes>(in + t * P * S::step[2], w, bias, out + t * P * S::channels);
    constexpr std::size_t done = S::out[2] / P * P;
    if constexpr (done < S::out[2])
      depthwise_channels<S, Act, S::out[2] - done, lanes>(in + done * S::step[2], w, bias, out + done * S::channels);
  }
}
