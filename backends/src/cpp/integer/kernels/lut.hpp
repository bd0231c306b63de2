// Bits that tables give at the addresses that S::pins bits of x spell, the first pin lowest. A table's entries lie in
// S::words words, entry 0 in the lowest bit of the first.
template <class S, class P, class W>
void lut(const std::uint8_t* x, const P* pins, const W* table, std::uint8_t* y) noexcept {
  constexpr std::size_t bits = 8 * sizeof(W);
  for (std::size_t o = 0; o < S::outputs; ++o, pins += S::pins, table += S::words) {
    std::size_t at = 0;
    for (std::size_t j = 0; j < S::pins; ++j) at |= static_cast<std::size_t>(x[pins[j]] != 0) << j;
    const std::uint64_t word = static_cast<std::uint64_t>(table[at / bits]);
    y[o] = static_cast<std::uint8_t>((word >> (at % bits)) & 1u);
  }
}
