#if defined(UNFLOAT_AVX2)
// Eight numbers that T holds.
template <class T> void store_eight(__m256i v, T* y) noexcept {
  if constexpr (sizeof(T) == 4) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(y), v);
  } else if constexpr (sizeof(T) == 2) {
    const __m256i words = _mm256_shuffle_epi8(v, _mm256_set1_epi64x(0x0d0c090805040100));
    const __m128i low = _mm256_castsi256_si128(words), high = _mm256_extracti128_si256(words, 1);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y), _mm_unpacklo_epi64(low, high));
  } else {
    const __m256i bytes = _mm256_shuffle_epi8(v, _mm256_set1_epi32(0x0c080400));
    const __m128i low = _mm256_castsi256_si128(bytes), high = _mm256_extracti128_si256(bytes, 1);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(y), _mm_unpacklo_epi32(low, high));
  }
}
#endif
