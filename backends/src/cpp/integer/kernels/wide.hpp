// Two words, for sums and products that one does not hold. |x · m + a| is below 2^127, and `shift` at most 63.
struct wide {
  std::uint64_t low;
  std::int64_t high;
};

constexpr wide multiply(std::int64_t a, std::int64_t b) noexcept {
  const std::uint64_t mask = 0xffffffffu, x = static_cast<std::uint64_t>(a), y = static_cast<std::uint64_t>(b);
  const std::uint64_t x0 = x & mask, x1 = x >> 32, y0 = y & mask, y1 = y >> 32;
  const std::uint64_t middle = x1 * y0 + (x0 * y0 >> 32), other = x0 * y1 + (middle & mask);
  std::uint64_t high = x1 * y1 + (middle >> 32) + (other >> 32);
  // As numbers without sign, those below 0 counted 2^64 too much.
  if (a < 0) high -= y;
  if (b < 0) high -= x;
  return {x * y, static_cast<std::int64_t>(high)};
}

constexpr wide plus(const wide& a, std::int64_t b) noexcept {
  const std::uint64_t low = a.low + static_cast<std::uint64_t>(b), carry = low < a.low ? 1u : 0u;
  return {low, static_cast<std::int64_t>(static_cast<std::uint64_t>(a.high) + (b < 0 ? ~std::uint64_t{0} : 0u) + carry)};
}

template <rounding R> constexpr wide divide(const wide& v, std::int64_t shift) noexcept {
  if (shift == 0) return v;
  const std::uint64_t half = std::uint64_t{1} << (shift - 1), rest = v.low & (half + half - 1u);
  const wide floor{v.low >> shift | static_cast<std::uint64_t>(v.high) << (64 - shift), v.high >> shift};
  const bool below = v.high < 0, odd = (floor.low & 1u) != 0u;
  bool up = false;
  switch (R) {
    case rounding::half_even: up = rest > half || (rest == half && odd); break;
    case rounding::half_up: up = rest > half || (rest == half && !below); break;
    case rounding::half_down: up = rest > half || (rest == half && below); break;
    case rounding::up: up = rest > 0u && !below; break;
    case rounding::down: up = rest > 0u && below; break;
    case rounding::ceil: up = rest > 0u; break;
    case rounding::floor: break;
    case rounding::half_ceil: up = rest >= half; break;
    case rounding::half_floor: up = rest > half; break;
  }
  return plus(floor, up ? 1 : 0);
}

constexpr bool fits(const wide& v) noexcept { return v.high == (static_cast<std::int64_t>(v.low) < 0 ? -1 : 0); }
// The nearest number of one word, and the low one.
constexpr std::int64_t nearest(const wide& v) noexcept {
  return fits(v) ? static_cast<std::int64_t>(v.low) : v.high < 0 ? INT64_MIN : INT64_MAX;
}
constexpr std::int64_t low_word(const wide& v) noexcept { return static_cast<std::int64_t>(v.low); }
