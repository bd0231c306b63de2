// Cells that are picked by computed indices, of which those below 0 count from the end.
template <class S, class T, class I> void gather(const T* x, const I* at, T* y) noexcept {
  for (std::size_t block = 0; block < S::outer; ++block)
    for (std::size_t i = 0; i < S::picked; ++i, y += S::run) {
      const std::int64_t index = static_cast<std::int64_t>(at[i]);
      const std::size_t cell = static_cast<std::size_t>(index < 0 ? index + static_cast<std::int64_t>(S::cells) : index);
      std::memcpy(y, x + (block * S::cells + cell) * S::run, S::run * sizeof(T));
    }
}
