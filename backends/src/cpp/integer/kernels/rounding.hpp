// Quotients by powers of two, rounded once. |v| is below 2^61, and `shift` at most 61: nothing here overflows.
enum class rounding { half_even, half_up, half_down, up, down, ceil, floor, half_ceil, half_floor };

// What is added before the rest is cut off: half of one, one part less than half, or one part less than one.
constexpr std::int64_t half(std::int64_t shift) noexcept { return (std::int64_t{1} << shift) >> 1; }
constexpr std::int64_t below_half(std::int64_t shift) noexcept { return half(shift) - (shift > 0 ? 1 : 0); }
constexpr std::int64_t below_one(std::int64_t shift) noexcept { return (std::int64_t{1} << shift) - 1; }

// The integer below. (Shifting numbers without sign by lifting them would suit vector units better, but g++ 12 makes
// wrong code of that at -O3 where the result is then cut to a byte.)
constexpr std::int64_t cut(std::int64_t v, std::int64_t shift) noexcept { return v >> shift; }

template <rounding R> constexpr std::int64_t divide(std::int64_t v, std::int64_t shift) noexcept {
  if constexpr (R == rounding::half_even) {
    // A half goes up from an odd number only.
    const std::int64_t odd = shift > 0 ? cut(v, shift) & 1 : 0;
    return cut(v + below_half(shift) + odd, shift);
  } else if constexpr (R == rounding::half_up) {
    return cut(v + (v < 0 ? below_half(shift) : half(shift)), shift);
  } else if constexpr (R == rounding::half_down) {
    return cut(v + (v < 0 ? half(shift) : below_half(shift)), shift);
  } else if constexpr (R == rounding::up) {
    return cut(v + (v < 0 ? 0 : below_one(shift)), shift);
  } else if constexpr (R == rounding::down) {
    return cut(v + (v < 0 ? below_one(shift) : 0), shift);
  } else if constexpr (R == rounding::ceil) {
    return cut(v + below_one(shift), shift);
  } else if constexpr (R == rounding::half_ceil) {
    return cut(v + half(shift), shift);
  } else if constexpr (R == rounding::half_floor) {
    return cut(v + below_half(shift), shift);
  } else {
    return cut(v, shift);
  }
}
