// Packs n cells of C codes -1 and +1 into words of bits, the first channel lowest, +1 as 1.
template <std::size_t C> void pack(const std::int8_t* x, std::uint64_t* y, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t from = 0; from < C; from += 64, ++y) {
      const std::size_t count = least(64, C - from);
      std::uint64_t word = 0;
      std::size_t b = 0;
#if defined(UNFLOAT_X86_UNITS)
      for (; b + 16 <= count; b += 16, x += 16) {
        const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x));
        const unsigned minus = static_cast<unsigned>(_mm_movemask_epi8(codes));
        word |= static_cast<std::uint64_t>(~minus & 0xffffu) << b;
      }
#endif
      for (; b < count; ++b, ++x) word |= static_cast<std::uint64_t>(*x < 0 ? 0u : 1u) << b;
      *y = word;
    }
}
