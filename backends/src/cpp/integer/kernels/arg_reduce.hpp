// Where the extreme of `cells` elements is that lie `run` apart: of equal ones the first, or the last.
template <class S, bool Max, bool Last, class T> void arg_reduce(const T* x, std::int64_t* y) noexcept {
  for (std::size_t block = 0; block < S::outer; ++block)
    for (std::size_t i = 0; i < S::run; ++i) {
      const T* const from = x + block * S::cells * S::run + i;
      std::size_t best = 0;
      for (std::size_t k = 1; k < S::cells; ++k) {
        const T a = from[k * S::run], b = from[best * S::run];
        if ((Max ? a > b : a < b) || (Last && a == b)) best = k;
      }
      *y++ = static_cast<std::int64_t>(best);
    }
}
