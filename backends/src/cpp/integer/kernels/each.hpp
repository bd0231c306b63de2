// y = F(a...), element by element; extents are those of S, and strides, with 0 where an operand is repeated. F gets
// the index in the run as well, which is the channel where F reads constants by it. y may be an operand that is not
// repeated: results are written a piece at a time, so that no element that is still to be read is lost.
inline constexpr std::size_t piece = 64;

template <class S, class F, std::size_t Axis, std::size_t... K, class T, class... A>
T* each_axis(std::index_sequence<K...> k, T* y, const A*... a) noexcept {
  if constexpr (Axis == sizeof S::extent / sizeof(std::size_t)) {
    T part[least(piece, S::run)];
    for (std::size_t from = 0; from < S::run; from += piece) {
      const std::size_t n = least(piece, S::run - from);
      for (std::size_t i = 0; i < n; ++i) part[i] = F::apply(a[(from + i) * S::step[K]]..., from + i);
      std::memcpy(y + from, part, n * sizeof(T));
    }
    return y + S::run;
  } else {
    for (std::size_t i = 0; i < S::extent[Axis]; ++i)
      y = each_axis<S, F, Axis + 1>(k, y, (a + i * S::stride[K][Axis])...);
    return y;
  }
}

template <class S, class F, class T, class... A> void each(T* y, const A*... a) noexcept {
  each_axis<S, F, 0>(std::index_sequence_for<A...>{}, y, a...);
}
