// Numbers of bits in which rows of k words differ from the weights of 8 output channels, which lie word by word, a channel
// in each lane. Channels and rows are -1 and +1 as bits; bits that are nobody's are 0 in both. Two things are made of
// the numbers of n rows:
//
//   differing_*   the numbers themselves, 8 to a row
//   within_*      8 bits to a row: whether each number is at most its limit; they are set from bit `shift` on in the words
//                 at to, to + stride, ..., where they were 0; limits[row] points at 8
//
// The unit that counts is chosen when the program starts, whatever the program is compiled for; all give the same numbers.
// UNFLOAT_BEST_UNIT bounds the choice: 0 portable, 1 popcnt, 2 AVX2, 3 AVX-512 with VPOPCNTDQ.

// Totals of 8 channels in plain words, whose loops the compiler may make vectors of. Carry-save adders make one word of
// sums, of carries and of carries' carries from seven words of differing bits; only those three are counted.
struct portable_bits {
  // Two bits hold the number of ones of two bits, then four of four, then eight of eight.
  static constexpr std::uint64_t in_bytes(std::uint64_t x) noexcept {
    x -= x >> 1 & 0x5555555555555555u;
    x = (x & 0x3333333333333333u) + (x >> 2 & 0x3333333333333333u);
    return (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
  }
  static void count(const std::uint64_t* row, std::size_t k, const std::uint64_t* w, std::uint64_t (&total)[8]) noexcept {
    for (std::size_t l = 0; l < 8; ++l) total[l] = 0;
    while (k > 0) {
      // Seven words add at most 56 to a byte, so 28 words fit; a word alone adds at most 8.
      std::uint64_t bytes[8] = {};
      std::size_t room = 28;
      for (; k >= 7 && room >= 7; k -= 7, room -= 7, row += 7, w += 56)
        for (std::size_t l = 0; l < 8; ++l) {
          const std::uint64_t d0 = row[0] ^ w[l], d1 = row[1] ^ w[8 + l], d2 = row[2] ^ w[16 + l], d3 = row[3] ^ w[24 + l];
          const std::uint64_t d4 = row[4] ^ w[32 + l], d5 = row[5] ^ w[40 + l], d6 = row[6] ^ w[48 + l];
          const std::uint64_t u0 = d0 ^ d1, s0 = u0 ^ d2, c0 = (d0 & d1) | (u0 & d2);
          const std::uint64_t u1 = s0 ^ d3, s1 = u1 ^ d4, c1 = (s0 & d3) | (u1 & d4);
          const std::uint64_t u2 = s1 ^ d5, s2 = u2 ^ d6, c2 = (s1 & d5) | (u2 & d6);
          const std::uint64_t u3 = c0 ^ c1, s3 = u3 ^ c2, c3 = (c0 & c1) | (u3 & c2);
          bytes[l] += in_bytes(s2) + 2 * in_bytes(s3) + 4 * in_bytes(c3);
        }
      if (k < 7)
        for (; k > 0 && room > 0; --k, --room, ++row, w += 8)
          for (std::size_t l = 0; l < 8; ++l) bytes[l] += in_bytes(row[0] ^ w[l]);
      for (std::size_t l = 0; l < 8; ++l) {
        std::uint64_t x = (bytes[l] & 0x00ff00ff00ff00ffu) + (bytes[l] >> 8 & 0x00ff00ff00ff00ffu);
        x += x >> 16;
        total[l] += (x + (x >> 32)) & 0xffffu;
      }
    }
  }
};

// What is made of totals.
inline void keep_totals(const std::uint64_t (&total)[8], std::uint32_t* to) noexcept {
  for (std::size_t l = 0; l < 8; ++l) to[l] = static_cast<std::uint32_t>(total[l]);
}
inline std::uint64_t bits_within(const std::uint64_t (&total)[8], const std::int32_t* limits) noexcept {
  std::uint64_t bits = 0;
  for (std::size_t l = 8; l-- > 0;) bits = bits << 1 | (static_cast<std::int64_t>(total[l]) <= limits[l] ? 1u : 0u);
  return bits;
}

template <class Bits> void differing_by(const std::uint64_t* rows, std::size_t n, std::size_t k, const std::uint64_t* w,
                                        std::uint32_t* to) noexcept {
  for (std::size_t p = 0; p < n; ++p, rows += k, to += 8) {
    std::uint64_t total[8];
    Bits::count(rows, k, w, total);
    keep_totals(total, to);
  }
}
template <class Bits> void within_by(const std::uint64_t* rows, std::size_t n, std::size_t k, const std::uint64_t* w,
                                     const std::int32_t* const* limits, std::size_t channel, std::uint64_t* to,
                                     std::size_t stride, std::size_t shift) noexcept {
  for (std::size_t p = 0; p < n; ++p, rows += k, to += stride) {
    std::uint64_t total[8];
    Bits::count(rows, k, w, total);
    *to |= bits_within(total, limits[p] + channel) << shift;
  }
}

#if defined(UNFLOAT_X86_UNITS)
// One word after the other, with an instruction for each.
struct popcnt_bits {
  __attribute__((target("popcnt"))) static void count(const std::uint64_t* row, std::size_t k, const std::uint64_t* w,
                                                      std::uint64_t (&total)[8]) noexcept {
    for (std::size_t l = 0; l < 8; l += 4) {
      int t0 = 0, t1 = 0, t2 = 0, t3 = 0;
      for (std::size_t i = 0; i < k; ++i) {
        const std::uint64_t x = row[i];
        const std::uint64_t* const weights = w + i * 8 + l;
        t0 += __builtin_popcountll(x ^ weights[0]), t1 += __builtin_popcountll(x ^ weights[1]);
        t2 += __builtin_popcountll(x ^ weights[2]), t3 += __builtin_popcountll(x ^ weights[3]);
      }
      const int four[4] = {t0, t1, t2, t3};
      for (std::size_t m = 0; m < 4; ++m) total[l + m] = static_cast<std::uint64_t>(four[m]);
    }
  }
};

#define UNFLOAT_AVX2_PART __attribute__((target("avx2"), always_inline)) inline
#define UNFLOAT_AVX2_UNIT __attribute__((target("avx2"))) inline

// `factor` times the number of ones of each nibble.
UNFLOAT_AVX2_PART __m256i nibbles_avx2(char factor) noexcept {
  const __m256i ones = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,  //
                                        0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
  const __m256i twice = _mm256_add_epi8(ones, ones);
  return factor == 1 ? ones : factor == 2 ? twice : _mm256_add_epi8(twice, twice);
}
// What the table says of both nibbles of each byte.
UNFLOAT_AVX2_PART __m256i in_bytes_avx2(__m256i x, __m256i table) noexcept {
  const __m256i nibble = _mm256_set1_epi8(15);
  return _mm256_add_epi8(_mm256_shuffle_epi8(table, _mm256_and_si256(x, nibble)),
                         _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(x, 4), nibble)));
}
UNFLOAT_AVX2_PART void add_avx2(__m256i a, __m256i b, __m256i c, __m256i& sum, __m256i& carry) noexcept {
  const __m256i u = _mm256_xor_si256(a, b);
  carry = _mm256_or_si256(_mm256_and_si256(a, b), _mm256_and_si256(u, c));
  sum = _mm256_xor_si256(u, c);
}
UNFLOAT_AVX2_PART __m256i differ_avx2(const std::uint64_t* x, const std::uint64_t* w) noexcept {
  return _mm256_xor_si256(_mm256_set1_epi64x(static_cast<long long>(*x)),
                          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w)));
}

// Totals of the four channels whose weights begin at w: adders as in `portable_bits`, and tables of nibbles.
UNFLOAT_AVX2_PART __m256i count_avx2(const std::uint64_t* row, std::size_t k, const std::uint64_t* w) noexcept {
  const __m256i zero = _mm256_setzero_si256(), one = nibbles_avx2(1), two = nibbles_avx2(2), four = nibbles_avx2(4);
  __m256i total = zero, s, t, c0, c1, c2, c, cc;
  while (k >= 7) {
    // Seven words add at most 56 to a byte: four times that fits.
    __m256i bytes = zero;
    for (std::size_t room = 4; k >= 7 && room > 0; --room, k -= 7, row += 7, w += 56) {
      add_avx2(differ_avx2(row, w), differ_avx2(row + 1, w + 8), differ_avx2(row + 2, w + 16), s, c0);
      add_avx2(s, differ_avx2(row + 3, w + 24), differ_avx2(row + 4, w + 32), t, c1);
      add_avx2(t, differ_avx2(row + 5, w + 40), differ_avx2(row + 6, w + 48), s, c2);
      add_avx2(c0, c1, c2, c, cc);
      bytes = _mm256_add_epi8(bytes, in_bytes_avx2(s, one));
      bytes = _mm256_add_epi8(bytes, in_bytes_avx2(c, two));
      bytes = _mm256_add_epi8(bytes, in_bytes_avx2(cc, four));
    }
    total = _mm256_add_epi64(total, _mm256_sad_epu8(bytes, zero));
  }
  __m256i bytes = zero;
  if (k >= 3) {
    add_avx2(differ_avx2(row, w), differ_avx2(row + 1, w + 8), differ_avx2(row + 2, w + 16), s, c);
    bytes = _mm256_add_epi8(in_bytes_avx2(s, one), in_bytes_avx2(c, two));
    k -= 3, row += 3, w += 24;
  }
  for (; k > 0; --k, ++row, w += 8) bytes = _mm256_add_epi8(bytes, in_bytes_avx2(differ_avx2(row, w), one));
  return _mm256_add_epi64(total, _mm256_sad_epu8(bytes, zero));
}
// Four bits: whether each total is at most its limit.
UNFLOAT_AVX2_PART std::uint64_t bits_within_avx2(__m256i total, const std::int32_t* limits) noexcept {
  const __m256i limit = _mm256_cvtepi32_epi64(_mm_loadu_si128(reinterpret_cast<const __m128i*>(limits)));
  const int beyond = _mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpgt_epi64(total, limit)));
  return static_cast<std::uint64_t>(~beyond & 15);
}
UNFLOAT_AVX2_UNIT void differing_avx2(const std::uint64_t* rows, std::size_t n, std::size_t k, const std::uint64_t* w,
                                      std::uint32_t* to) noexcept {
  for (std::size_t p = 0; p < n; ++p, rows += k, to += 8) {
    std::uint64_t total[8];
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(total), count_avx2(rows, k, w));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(total + 4), count_avx2(rows, k, w + 4));
    keep_totals(total, to);
  }
}
UNFLOAT_AVX2_UNIT void within_avx2(const std::uint64_t* rows, std::size_t n, std::size_t k, const std::uint64_t* w,
                                   const std::int32_t* const* limits, std::size_t channel, std::uint64_t* to,
                                   std::size_t stride, std::size_t shift) noexcept {
  for (std::size_t p = 0; p < n; ++p, rows += k, to += stride) {
    const std::int32_t* const limit = limits[p] + channel;
    const std::uint64_t low = bits_within_avx2(count_avx2(rows, k, w), limit);
    const std::uint64_t high = bits_within_avx2(count_avx2(rows, k, w + 4), limit + 4);
    *to |= (low | high << 4) << shift;
  }
}

#define UNFLOAT_AVX512_PART __attribute__((target("avx512f,avx512vpopcntdq"), always_inline)) inline
#define UNFLOAT_AVX512_UNIT __attribute__((target("avx512f,avx512vpopcntdq"))) inline

// Adds the differing bits of a word of a row, which is the same for all channels.
UNFLOAT_AVX512_PART __m512i count_avx512(__m512i total, std::uint64_t x, __m512i w) noexcept {
  const __m512i differing = _mm512_xor_si512(_mm512_set1_epi64(static_cast<long long>(x)), w);
  return _mm512_add_epi64(total, _mm512_popcnt_epi64(differing));
}
// Totals of all eight channels for four rows, which share each word of weights; of the last ones the last stands for
// those that are not there.
UNFLOAT_AVX512_PART void four_avx512(const std::uint64_t* const (&row)[4], std::size_t k, const std::uint64_t* w,
                                     __m512i (&total)[4]) noexcept {
  __m512i t0 = _mm512_setzero_si512(), t1 = t0, t2 = t0, t3 = t0;
  for (std::size_t i = 0; i < k; ++i, w += 8) {
    const __m512i weights = _mm512_loadu_si512(w);
    t0 = count_avx512(t0, row[0][i], weights);
    t1 = count_avx512(t1, row[1][i], weights);
    t2 = count_avx512(t2, row[2][i], weights);
    t3 = count_avx512(t3, row[3][i], weights);
  }
  total[0] = t0, total[1] = t1, total[2] = t2, total[3] = t3;
}
UNFLOAT_AVX512_UNIT void differing_avx512(const std::uint64_t* rows, std::size_t n, std::size_t k, const std::uint64_t* w,
                                          std::uint32_t* to) noexcept {
  for (std::size_t p = 0; p < n; p += 4) {
    const std::size_t last = n - 1 - p;
    const std::uint64_t* const row = rows + p * k;
    const std::uint64_t* const four[4] = {row, row + least(1, last) * k, row + least(2, last) * k, row + least(3, last) * k};
    __m512i sum[4];
    four_avx512(four, k, w, sum);
    for (std::size_t q = 0; q < 4 && q <= last; ++q) {
      std::uint64_t total[8];
      _mm512_storeu_si512(total, sum[q]);
      keep_totals(total, to + (p + q) * 8);
    }
  }
}
UNFLOAT_AVX512_UNIT void within_avx512(const std::uint64_t* rows, std::size_t n, std::size_t k, const std::uint64_t* w,
                                       const std::int32_t* const* limits, std::size_t channel, std::uint64_t* to,
                                       std::size_t stride, std::size_t shift) noexcept {
  for (std::size_t p = 0; p < n; p += 4) {
    const std::size_t last = n - 1 - p;
    const std::uint64_t* const row = rows + p * k;
    const std::uint64_t* const four[4] = {row, row + least(1, last) * k, row + least(2, last) * k, row + least(3, last) * k};
    __m512i total[4];
    four_avx512(four, k, w, total);
    for (std::size_t q = 0; q < 4 && q <= last; ++q) {
      const std::int32_t* const limit = limits[p + q] + channel;
      const __m512i most = _mm512_maskz_cvtepi32_epi64(0xff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(limit)));
      to[(p + q) * stride] |= static_cast<std::uint64_t>(_mm512_cmple_epi64_mask(total[q], most)) << shift;
    }
  }
}

enum class unit : unsigned char { portable, popcnt, avx2, avx512 };
inline unit find_unit() noexcept {
  __builtin_cpu_init();
#if UNFLOAT_BEST_UNIT >= 3
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vpopcntdq")) return unit::avx512;
#endif
#if UNFLOAT_BEST_UNIT >= 2
  if (__builtin_cpu_supports("avx2")) return unit::avx2;
#endif
#if UNFLOAT_BEST_UNIT >= 1
  if (__builtin_cpu_supports("popcnt")) return unit::popcnt;
#endif
  return unit::portable;
}
// Portable until the program's start has found another one.
inline const unit best_unit = find_unit();

inline void differing(const std::uint64_t* rows, std::size_t n, std::size_t k, const std::uint64_t* w,
                      std::uint32_t* to) noexcept {
  switch (best_unit) {
    case unit::avx512: return differing_avx512(rows, n, k, w, to);
    case unit::avx2: return differing_avx2(rows, n, k, w, to);
    case unit::popcnt: return differing_by<popcnt_bits>(rows, n, k, w, to);
    case unit::portable: break;
  }
  differing_by<portable_bits>(rows, n, k, w, to);
}
inline void within(const std::uint64_t* rows, std::size_t n, std::size_t k, const std::uint64_t* w,
                   const std::int32_t* const* limits, std::size_t channel, std::uint64_t* to, std::size_t stride,
                   std::size_t shift) noexcept {
  switch (best_unit) {
    case unit::avx512: return within_avx512(rows, n, k, w, limits, channel, to, stride, shift);
    case unit::avx2: return within_avx2(rows, n, k, w, limits, channel, to, stride, shift);
    case unit::popcnt: return within_by<popcnt_bits>(rows, n, k, w, limits, channel, to, stride, shift);
    case unit::portable: break;
  }
  within_by<portable_bits>(rows, n, k, w, limits, channel, to, stride, shift);
}
#else
#if defined(UNFLOAT_NEON)
// Two channels to a vector, each word's ones counted byte by byte.
struct plain_bits {
  static void count(const std::uint64_t* row, std::size_t k, const std::uint64_t* w, std::uint64_t (&total)[8]) noexcept {
    uint64x2_t sum[4] = {vdupq_n_u64(0), vdupq_n_u64(0), vdupq_n_u64(0), vdupq_n_u64(0)};
    while (k > 0) {
      // A word adds at most 8 to a byte: 31 of them fit.
      const std::size_t part = least(k, 31);
      uint8x16_t bytes[4] = {vdupq_n_u8(0), vdupq_n_u8(0), vdupq_n_u8(0), vdupq_n_u8(0)};
      for (std::size_t i = 0; i < part; ++i, ++row, w += 8) {
        const uint64x2_t x = vdupq_n_u64(*row);
        for (std::size_t j = 0; j < 4; ++j)
          bytes[j] = vaddq_u8(bytes[j], vcntq_u8(vreinterpretq_u8_u64(veorq_u64(x, vld1q_u64(w + 2 * j)))));
      }
      for (std::size_t j = 0; j < 4; ++j) sum[j] = vpadalq_u32(sum[j], vpaddlq_u16(vpaddlq_u8(bytes[j])));
      k -= part;
    }
    for (std::size_t j = 0; j < 4; ++j) vst1q_u64(total + 2 * j, sum[j]);
  }
};
#else
using plain_bits = portable_bits;
#endif

inline void differing(const std::uint64_t* rows, std::size_t n, std::size_t k, const std::uint64_t* w,
                      std::uint32_t* to) noexcept {
  differing_by<plain_bits>(rows, n, k, w, to);
}
inline void within(const std::uint64_t* rows, std::size_t n, std::size_t k, const std::uint64_t* w,
                   const std::int32_t* const* limits, std::size_t channel, std::uint64_t* to, std::size_t stride,
                   std::size_t shift) noexcept {
  within_by<plain_bits>(rows, n, k, w, limits, channel, to, stride, shift);
}
#endif
