// Quotients toward 0; by 0 they are 0, and those that no number holds wrap.
template <class T> constexpr T quotient(T a, T b) noexcept { return b == 0 ? 0 : b == -1 ? sub<T>(0, a) : static_cast<T>(a / b); }
// Remainders with the sign of a.
template <class T> constexpr T remainder(T a, T b) noexcept { return b == 0 || b == -1 ? 0 : static_cast<T>(a % b); }
// Remainders with the sign of b.
template <class T> constexpr T modulo(T a, T b) noexcept {
  const T rest = remainder(a, b);
  return rest != 0 && (rest < 0) != (b < 0) ? static_cast<T>(rest + b) : rest;
}
// The low bits of a to the power of b; of those below 1, what is left of 0.
template <class T> constexpr T power(T a, T b) noexcept {
  if (a == 1 || b == 0) return 1;
  if (a == -1) return b % 2 == 0 ? 1 : -1;
  if (b < 0) return 0;
  T square = a, product = 1;
  for (T left = b; left > 0; left = static_cast<T>(left / 2), square = mul(square, square))
    if (left % 2 == 1) product = mul(product, square);
  return product;
}
template <class T> constexpr bool greater(T a, T b) noexcept { return a > b; }
template <class T> constexpr bool greater_equal(T a, T b) noexcept { return a >= b; }
template <class T> constexpr bool less(T a, T b) noexcept { return a < b; }
template <class T> constexpr bool less_equal(T a, T b) noexcept { return a <= b; }
template <class T> constexpr bool equal(T a, T b) noexcept { return a == b; }

// Beyond the width of T every bit is shifted out.
template <class T> constexpr T shift_left(T a, T by) noexcept {
  using U = std::make_unsigned_t<T>;
  return by < 0 || by >= static_cast<T>(sizeof(T) * 8) ? 0 : static_cast<T>(static_cast<U>(static_cast<U>(a) << by));
}
template <class T> constexpr T shift_right(T a, T by) noexcept {
  constexpr T most = static_cast<T>(sizeof(T) * 8 - 1);
  return static_cast<T>(a >> (by < 0 || by > most ? most : by));
}
