// Vectors of N floats: the compiler's own vector types where it has them (GCC, Clang), as wide as the
// registers of the target that it compiles for; elsewhere plain arrays, whose loops it may vectorise.
#if defined(__AVX512F__)
inline constexpr std::size_t lanes = 16, registers = 32;
#elif defined(__AVX__)
inline constexpr std::size_t lanes = 8, registers = 16;
#elif defined(__aarch64__)
inline constexpr std::size_t lanes = 4, registers = 32;
#else
inline constexpr std::size_t lanes = 4, registers = 16;
#endif

// Accumulators that a kernel may hold beside what it multiplies.
inline constexpr std::size_t accumulators = registers == 32 ? 28 : lanes == 8 ? 12 : 10;

#if defined(__clang__)
#define UNFLOAT_UNROLL _Pragma("unroll")
#elif defined(__GNUC__)
#define UNFLOAT_UNROLL _Pragma("GCC unroll 64")
#else
#define UNFLOAT_UNROLL
#endif

#if defined(__GNUC__) && !defined(UNFLOAT_PLAIN_ARRAYS)
template <std::size_t N> struct vec_of { typedef float type __attribute__((vector_size(N * sizeof(float)))); };
template <std::size_t N> using vec = typename vec_of<N>::type;
template <std::size_t N> vec<N> at_least(const vec<N>& v, float low) noexcept { return v < low ? vec<N>{} + low : v; }
template <std::size_t N> vec<N> at_most(const vec<N>& v, float high) noexcept { return v > high ? vec<N>{} + high : v; }
// The greater of each pair; NaN if either is.
template <std::size_t N> vec<N> maximum(const vec<N>& a, const vec<N>& b) noexcept {
  return ((a > b) | (a != a)) ? a : b;
}
#else
template <std::size_t N> struct vec {
  float lane[N];
  friend vec operator+(const vec& a, const vec& b) noexcept {
    vec r{};
    for (std::size_t i = 0; i < N; ++i) r.lane[i] = a.lane[i] + b.lane[i];
    return r;
  }
  friend vec operator*(const vec& a, const vec& b) noexcept {
    vec r{};
    for (std::size_t i = 0; i < N; ++i) r.lane[i] = a.lane[i] * b.lane[i];
    return r;
  }
  friend vec operator*(float a, const vec& b) noexcept {
    vec r{};
    for (std::size_t i = 0; i < N; ++i) r.lane[i] = a * b.lane[i];
    return r;
  }
  friend vec operator/(const vec& a, float b) noexcept {
    vec r{};
    for (std::size_t i = 0; i < N; ++i) r.lane[i] = a.lane[i] / b;
    return r;
  }
};
template <std::size_t N> vec<N> at_least(const vec<N>& v, float low) noexcept {
  vec<N> r{};
  for (std::size_t i = 0; i < N; ++i) r.lane[i] = v.lane[i] < low ? low : v.lane[i];
  return r;
}
template <std::size_t N> vec<N> at_most(const vec<N>& v, float high) noexcept {
  vec<N> r{};
  for (std::size_t i = 0; i < N; ++i) r.lane[i] = v.lane[i] > high ? high : v.lane[i];
  return r;
}
template <std::size_t N> vec<N> maximum(const vec<N>& a, const vec<N>& b) noexcept {
  vec<N> r{};
  for (std::size_t i = 0; i < N; ++i)
    r.lane[i] = a.lane[i] > b.lane[i] || a.lane[i] != a.lane[i] ? a.lane[i] : b.lane[i];
  return r;
}
#endif

template <std::size_t N> vec<N> load(const float* from) noexcept {
  vec<N> v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
template <std::size_t N> void store(float* to, const vec<N>& v) noexcept { std::memcpy(to, &v, sizeof v); }

// Functions that only cut off are applied to vectors, before they are stored; others to elements, behind that.
template <class Act> inline constexpr bool is_late = !std::is_same_v<Act, identity> && !Act::clamps;

template <class Act, std::size_t N> vec<N> clamp(const vec<N>& v) noexcept {
  if constexpr (!Act::clamps) {
    return v;
  } else if constexpr (Act::high == std::numeric_limits<float>::infinity()) {
    return at_least<N>(v, Act::low);
  } else {
    return at_most<N>(at_least<N>(v, Act::low), Act::high);
  }
}

template <class Act> void activate(float* y, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) y[i] = Act::apply(y[i]);
}
