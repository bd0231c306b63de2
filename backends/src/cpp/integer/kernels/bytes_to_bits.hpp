// A product of bytes with weights -1, 0 and +1 whose thresholds give bits: a first layer. Shapes and weights are those of
// `product`. Where the program finds AVX2 when it starts, products of two bytes, which weights so small let fit, are
// added in lanes of 16 bits, and limits turn the sums into bits; elsewhere `product` makes codes, which are packed.
#if defined(UNFLOAT_X86_UNITS)
// B channels, 8 or 16, of all cells, four cells at a time; of the last ones the last stands for those that are not there.
template <class S, std::size_t B>
UNFLOAT_AVX2_UNIT void bytes_block_avx2(const std::uint8_t* x, const std::int8_t* w, const std::int32_t* limits,
                                        std::uint64_t* y, std::size_t channel) noexcept {
  constexpr std::size_t V = B / 8, stride = (S::channels + 63) / 64, far = S::step[2];
  for (std::size_t i = 0; i < S::out[0]; ++i) for (std::size_t j = 0; j < S::out[1]; ++j)
    for (std::size_t k = 0; k < S::out[2]; k += 4) {
      const std::size_t last = S::out[2] - 1 - k;
      const std::uint8_t* const first = x + i * S::step[0] + j * S::step[1] + k * far;
      const std::uint8_t* const cell[4] = {first, first + least(1, last) * far, first + least(2, last) * far,
                                           first + least(3, last) * far};
      __m256i sum[4][V];
      UNFLOAT_UNROLL for (std::size_t p = 0; p < 4; ++p)
        UNFLOAT_UNROLL for (std::size_t v = 0; v < V; ++v) sum[p][v] = _mm256_setzero_si256();
      const std::int8_t* wk = w;
      for (std::size_t a = 0; a < S::taps[0]; ++a) for (std::size_t b = 0; b < S::taps[1]; ++b)
        for (std::size_t c = 0; c < S::taps[2]; ++c) {
          const std::size_t at = a * S::reach[0] + b * S::reach[1] + c * S::reach[2];
          for (std::size_t r = 0; r < S::run; r += 4, wk += B * 4) {
            __m256i weights[V];
            UNFLOAT_UNROLL for (std::size_t v = 0; v < V; ++v)
              weights[v] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(wk + v * 32));
            UNFLOAT_UNROLL for (std::size_t p = 0; p < 4; ++p) {
              const __m256i in = _mm256_set1_epi32(group_of<std::int32_t>(cell[p] + at + r));
              UNFLOAT_UNROLL for (std::size_t v = 0; v < V; ++v)
                sum[p][v] = _mm256_add_epi16(sum[p][v], _mm256_maddubs_epi16(in, weights[v]));
            }
          }
        }
      std::uint64_t* const to = y + ((i * S::out[1] + j) * S::out[2] + k) * stride + channel / 64;
      for (std::size_t p = 0; p < 4 && p <= last; ++p) {
        std::uint64_t bits = 0;
        for (std::size_t v = 0; v < V; ++v) {
          const __m256i limit = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(limits + channel + v * 8));
          const __m256i total = _mm256_madd_epi16(sum[p][v], _mm256_set1_epi16(1));
          const int below = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(limit, total)));
          bits |= static_cast<std::uint64_t>(~below & 0xff) << (v * 8);
        }
        to[p * stride] |= bits << channel % 64;
      }
    }
}
template <class S> void bytes_avx2(const std::uint8_t* x, const std::int8_t* w, const std::int32_t* limits,
                                   std::uint64_t* y) noexcept {
  constexpr std::size_t depth = S::taps[0] * S::taps[1] * S::taps[2] * ((S::run + 3) / 4) * 4;
  for (std::size_t i = 0; i < S::out[0] * S::out[1] * S::out[2] * ((S::channels + 63) / 64); ++i) y[i] = 0;
  for (std::size_t c = 0; c < S::channels; c += block_width(S::channels - c)) {
    if (block_width(S::channels - c) == 16) bytes_block_avx2<S, 16>(x, w + c * depth, limits, y, c);
    else bytes_block_avx2<S, 8>(x, w + c * depth, limits, y, c);
  }
}
#endif

template <class S, class Post, class T>
void bytes_to_bits(const T* x, const std::int8_t* w, const std::int32_t* bias, const std::int32_t* lifted,
                   const std::int32_t* limits, unsigned char* memory, std::int8_t* codes, std::uint64_t* y) noexcept {
#if defined(UNFLOAT_X86_UNITS)
  if (best_unit >= unit::avx2) {
    constexpr int lift = S::negative_inputs ? 128 : 0;
    return bytes_avx2<S>(lifted_operand<S, std::uint8_t, lift>(x, memory), w, limits, y);
  }
#endif
  static_cast<void>(limits);
  product<S, Post>(x, w, bias, lifted, memory, codes);
  pack<S::channels>(codes, y, S::out[0] * S::out[1] * S::out[2]);
}
