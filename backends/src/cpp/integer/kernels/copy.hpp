// Moves `run` neighbouring elements at a time from strides `a` to strides `b`.
template <class S, class T> void copy(const T* x, T* y) noexcept {
  nest<S>(0, 0, [=](std::size_t from, std::size_t to) {
    if constexpr (S::run == 1) {
      y[to] = x[from];
    } else {
      std::memcpy(y + to, x + from, S::run * sizeof(T));
    }
  });
}
