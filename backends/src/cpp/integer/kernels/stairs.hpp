// How many of K rising thresholds N neighbouring sums reach, a channel each: y = bias + scale · number. Where they lie evenly
// a line tells: with t = (clamp(sum, low, high) - low) · 2^up and p = t · m / 2^32 + a, all of 31 bits, the number is p / 2^20
// or (p + slack) / 2^20, nearly always the same. Where they differ, the first is below K, and one comparison decides.
//
// Whole network of 8 bits with 255 thresholds behind each layer, images a second, one Zen 3 core with AVX2: 665 with a search by
// halves for each sum, 1490 with this (g++ 12); with clang++ 14, 800 and 1740. Tiles of three cells make that 1920 and 1810.
template <std::size_t N, std::size_t K, class T>
void stairs_row(const std::int32_t* sum, const std::int32_t* low, const std::int32_t* high, const std::int32_t* up,
                const std::int32_t* m, const std::int32_t* a, std::int32_t slack, const std::int32_t* limits,
                std::int32_t bias, std::int32_t scale, T* y) noexcept {
  std::size_t n = 0;
#if defined(UNFLOAT_AVX2)
  const auto eight = [](const std::int32_t* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); };
  for (; n + 8 <= N; n += 8) {
    const __m256i least = eight(low + n), by = eight(m + n);
    const __m256i x = _mm256_min_epi32(_mm256_max_epi32(eight(sum + n), least), eight(high + n));
    const __m256i t = _mm256_sllv_epi32(_mm256_sub_epi32(x, least), eight(up + n));
    const __m256i even = _mm256_srli_epi64(_mm256_mul_epu32(t, by), 32);
    const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(t, 32), _mm256_srli_epi64(by, 32));
    const __m256i p = _mm256_add_epi32(_mm256_blend_epi32(even, odd, 0xaa), eight(a + n));
    __m256i q = _mm256_srli_epi32(p, 20);
    const __m256i same = _mm256_cmpeq_epi32(q, _mm256_srli_epi32(_mm256_add_epi32(p, _mm256_set1_epi32(slack)), 20));
    if (_mm256_movemask_epi8(same) != -1) {
      std::int32_t number[8], decided[8];
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(number), q);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(decided), same);
      for (std::size_t i = 0; i < 8; ++i)
        if (decided[i] == 0 && sum[n + i] >= limits[(n + i) * K + static_cast<std::size_t>(number[i])]) ++number[i];
      q = eight(number);
    }
    if (scale != 1) q = _mm256_mullo_epi32(q, _mm256_set1_epi32(scale));
    store_eight(_mm256_add_epi32(q, _mm256_set1_epi32(bias)), y + n);
  }
#endif
  for (; n < N; ++n) {
    const std::int64_t t = (static_cast<std::int64_t>(clamp(sum[n], low[n], high[n])) - low[n]) << up[n];
    const std::int32_t p = static_cast<std::int32_t>((t * m[n]) >> 32) + a[n];
    std::int32_t q = p >> 20;
    if (q != (p + slack) >> 20 && sum[n] >= limits[n * K + static_cast<std::size_t>(q)]) ++q;
    y[n] = static_cast<T>(bias + scale * q);
  }
}
