// Sums of products of small integers, 32 bits wide, several outputs to a vector: each step multiplies a `group` of
// neighbouring inputs, the same for all outputs, with as many weights of each output. Weights lie as
// [group][output][input in group]. What a unit has decides the form; all give the same sums, whose low 32 bits stay.
//
//   bytes   inputs without sign, weights of 8 bits; inputs with sign are lifted by 128
//   words   inputs of 16 bits, weights of 8 bits
//   pairs   inputs and weights of 16 bits
enum class form { bytes, words, pairs };

#if defined(__clang__)
#define UNFLOAT_UNROLL _Pragma("unroll")
#elif defined(__GNUC__)
#define UNFLOAT_UNROLL _Pragma("GCC unroll 64")
#else
#define UNFLOAT_UNROLL
#endif

// A group of inputs, as one number.
template <class N> N group_of(const void* from) noexcept {
  N n;
  std::memcpy(&n, from, sizeof n);
  return n;
}

#if defined(UNFLOAT_VNNI)
// Four products a lane, in one step.
struct dot_bytes {
  using operand = std::uint8_t;
  using weight = std::int8_t;
  using vec = __m256i;
  static constexpr std::size_t group = 4, outputs = 8;
  static vec zero() noexcept { return _mm256_setzero_si256(); }
  static vec weights(const weight* w) noexcept { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w)); }
  static vec inputs(const operand* x) noexcept { return _mm256_set1_epi32(group_of<std::int32_t>(x)); }
  static vec add(vec sum, vec w, vec x) noexcept { return UNFLOAT_VNNI(sum, x, w); }
  template <std::size_t V> static void store(const vec (&sum)[V], std::int32_t* to) noexcept {
    for (std::size_t v = 0; v < V; ++v) _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + v * outputs), sum[v]);
  }
};
#elif defined(UNFLOAT_AVX2)
// Two products to 16 bits, which saturate: only for weights of which no neighbours can reach that.
struct dot_bytes {
  using operand = std::uint8_t;
  using weight = std::int8_t;
  using vec = __m256i;
  static constexpr std::size_t group = 4, outputs = 8;
  static vec zero() noexcept { return _mm256_setzero_si256(); }
  static vec weights(const weight* w) noexcept { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w)); }
  static vec inputs(const operand* x) noexcept { return _mm256_set1_epi32(group_of<std::int32_t>(x)); }
  static vec add(vec sum, vec w, vec x) noexcept {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(x, w), _mm256_set1_epi16(1)));
  }
  template <std::size_t V> static void store(const vec (&sum)[V], std::int32_t* to) noexcept {
    for (std::size_t v = 0; v < V; ++v) _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + v * outputs), sum[v]);
  }
};
#endif

#if defined(UNFLOAT_AVX2)
// Two sums for each output, which are added at the end.
struct dot_words {
  using operand = std::int16_t;
  using weight = std::int8_t;
  using vec = __m256i;
  static constexpr std::size_t group = 4, outputs = 4;
  static vec zero() noexcept { return _mm256_setzero_si256(); }
  static vec weights(const weight* w) noexcept {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w)));
  }
  static vec inputs(const operand* x) noexcept { return _mm256_set1_epi64x(group_of<std::int64_t>(x)); }
  static vec add(vec sum, vec w, vec x) noexcept { return _mm256_add_epi32(sum, _mm256_madd_epi16(x, w)); }
  template <std::size_t V> static void store(const vec (&sum)[V], std::int32_t* to) noexcept {
    for (std::size_t v = 0; v < V; v += 2) {
      const vec both = _mm256_permute4x64_epi64(_mm256_hadd_epi32(sum[v], sum[v + 1]), 0xd8);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + v * outputs), both);
    }
  }
};
struct dot_pairs {
  using operand = std::int16_t;
  using weight = std::int16_t;
  using vec = __m256i;
  static constexpr std::size_t group = 2, outputs = 8;
  static vec zero() noexcept { return _mm256_setzero_si256(); }
  static vec weights(const weight* w) noexcept { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w)); }
  static vec inputs(const operand* x) noexcept { return _mm256_set1_epi32(group_of<std::int32_t>(x)); }
  static vec add(vec sum, vec w, vec x) noexcept { return _mm256_add_epi32(sum, _mm256_madd_epi16(x, w)); }
  template <std::size_t V> static void store(const vec (&sum)[V], std::int32_t* to) noexcept {
    for (std::size_t v = 0; v < V; ++v) _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + v * outputs), sum[v]);
  }
};
#elif defined(UNFLOAT_SSE2)
struct dot_words {
  using operand = std::int16_t;
  using weight = std::int8_t;
  using vec = __m128i;
  static constexpr std::size_t group = 4, outputs = 2;
  static vec zero() noexcept { return _mm_setzero_si128(); }
  static vec weights(const weight* w) noexcept {
    const vec v = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(w));
    return _mm_srai_epi16(_mm_unpacklo_epi8(v, v), 8);
  }
  static vec inputs(const operand* x) noexcept {
    const vec v = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(x));
    return _mm_unpacklo_epi64(v, v);
  }
  static vec add(vec sum, vec w, vec x) noexcept { return _mm_add_epi32(sum, _mm_madd_epi16(x, w)); }
  template <std::size_t V> static void store(const vec (&sum)[V], std::int32_t* to) noexcept {
    for (std::size_t v = 0; v < V; v += 2) {
      const vec even = _mm_unpacklo_epi32(sum[v], _mm_shuffle_epi32(sum[v], 0x4e));
      const vec odd = _mm_unpacklo_epi32(sum[v + 1], _mm_shuffle_epi32(sum[v + 1], 0x4e));
      // Lanes are now first, third, second and fourth part.
      const vec both = _mm_add_epi32(_mm_unpacklo_epi64(even, odd), _mm_unpackhi_epi64(even, odd));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + v * outputs), both);
    }
  }
};
struct dot_pairs {
  using operand = std::int16_t;
  using weight = std::int16_t;
  using vec = __m128i;
  static constexpr std::size_t group = 2, outputs = 4;
  static vec zero() noexcept { return _mm_setzero_si128(); }
  static vec weights(const weight* w) noexcept { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(w)); }
  static vec inputs(const operand* x) noexcept { return _mm_set1_epi32(group_of<std::int32_t>(x)); }
  static vec add(vec sum, vec w, vec x) noexcept { return _mm_add_epi32(sum, _mm_madd_epi16(x, w)); }
  template <std::size_t V> static void store(const vec (&sum)[V], std::int32_t* to) noexcept {
    for (std::size_t v = 0; v < V; ++v) _mm_storeu_si128(reinterpret_cast<__m128i*>(to + v * outputs), sum[v]);
  }
};
#else
// Plain arrays, whose loops the compiler may make vectors of.
template <class W, std::size_t Group> struct dot_arrays {
  using operand = std::int16_t;
  using weight = W;
  static constexpr std::size_t group = Group, outputs = 4;
  struct vec {
    std::uint32_t lane[outputs];
  };
  struct matrix {
    W lane[outputs * Group];
  };
  struct row {
    operand lane[Group];
  };
  static vec zero() noexcept { return vec{}; }
  static matrix weights(const weight* w) noexcept { return group_of<matrix>(w); }
  static row inputs(const operand* x) noexcept { return group_of<row>(x); }
  static vec add(const vec& sum, const matrix& w, const row& x) noexcept {
    vec r{};
    for (std::size_t i = 0; i < outputs; ++i) {
      r.lane[i] = sum.lane[i];
      for (std::size_t k = 0; k < Group; ++k) r.lane[i] += static_cast<std::uint32_t>(w.lane[i * Group + k] * x.lane[k]);
    }
    return r;
  }
  template <std::size_t V> static void store(const vec (&sum)[V], std::int32_t* to) noexcept {
    std::memcpy(to, sum, sizeof sum);
  }
};
using dot_words = dot_arrays<std::int8_t, 4>;
using dot_pairs = dot_arrays<std::int16_t, 2>;
#endif

// The form of a layer on this machine.
template <class S> struct dot_of {
#if defined(UNFLOAT_VNNI)
  static constexpr bool bytes = S::inputs == form::bytes;
  using narrow = dot_bytes;
#elif defined(UNFLOAT_AVX2)
  static constexpr bool bytes = S::inputs == form::bytes && S::neighbours_fit;
  using narrow = dot_bytes;
#else
  static constexpr bool bytes = false;
  using narrow = dot_words;
#endif
  using broad = std::conditional_t<S::inputs == form::pairs, dot_pairs, dot_words>;
  using type = std::conditional_t<bytes, narrow, broad>;
  // What is added to inputs.
  static constexpr int lift = bytes && S::negative_inputs ? 128 : 0;
};
