// Numbers below 0 are two's complement and shift right toward minus infinity, as every machine does and C++20 says.
static_assert((-3 >> 1) == -2 && static_cast<std::int8_t>(0x80u) == -128, "integers must be two's complement");

constexpr std::size_t least(std::size_t a, std::size_t b) noexcept { return a < b ? a : b; }

// Begins n elements in a workspace, where others may have been.
template <class T> T* place(unsigned char* at, std::size_t n) noexcept { return ::new (static_cast<void*>(at)) T[n]; }

// The low bits of x, as a number of a type of that width.
template <unsigned Width, bool Signed, class T> constexpr T wrap(T x) noexcept {
  using U = std::make_unsigned_t<T>;
  constexpr U mask = static_cast<U>(static_cast<U>(~U{0}) >> (sizeof(T) * 8 - Width));
  constexpr U sign = Signed ? static_cast<U>(U{1} << (Width - 1)) : U{0};
  return static_cast<T>(static_cast<U>(((static_cast<U>(x) & mask) ^ sign) - sign));
}

template <class T> constexpr T clamp(T x, T low, T high) noexcept { return x < low ? low : x > high ? high : x; }

template <class T> constexpr T larger(T a, T b) noexcept { return a > b ? a : b; }
template <class T> constexpr T lesser(T a, T b) noexcept { return a < b ? a : b; }

// Makes results of N neighbouring sums, the first of which belongs to channel c.
template <class Post, std::size_t N, class A, class Y> void finish(const A* sum, Y* y, std::size_t c) noexcept {
  if constexpr (Post::has_rows) {
    Post::template row<N>(sum, y, c);
  } else {
    Y part[N];
    for (std::size_t n = 0; n < N; ++n) part[n] = Post::apply(sum[n], c + n);
    std::memcpy(y, part, sizeof part);
  }
}

// Sums, differences and products of which the low bits stay.
template <class T> constexpr T add(T a, T b) noexcept {
  using U = std::make_unsigned_t<T>;
  return static_cast<T>(static_cast<U>(a) + static_cast<U>(b));
}
template <class T> constexpr T sub(T a, T b) noexcept {
  using U = std::make_unsigned_t<T>;
  return static_cast<T>(static_cast<U>(a) - static_cast<U>(b));
}
template <class T> constexpr T mul(T a, T b) noexcept {
  using U = std::make_unsigned_t<T>;
  return static_cast<T>(static_cast<U>(a) * static_cast<U>(b));
}
