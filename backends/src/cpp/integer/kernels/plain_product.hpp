// Products of patches of x with weights [output][taps][inputs], one after the other, in accumulators of any width: for
// operands of more than 16 bits, and sums of more than 32. Shapes are those of `product`, with whole taps; x holds its
// padding.
template <class S, class Post, class A, class T, class W, class Y> void plain_product(const T* x, const W* w, Y* y) noexcept {
  constexpr std::size_t depth = S::taps[0] * S::taps[1] * S::taps[2] * S::run;
  for (std::size_t i = 0; i < S::out[0]; ++i) for (std::size_t j = 0; j < S::out[1]; ++j)
    for (std::size_t k = 0; k < S::out[2]; ++k)
      for (std::size_t c = 0; c < S::channels; ++c) {
        const T* in = x + i * S::step[0] + j * S::step[1] + k * S::step[2] + c / S::group_out * S::run;
        const W* weight = w + c * depth;
        A sum = 0;
        for (std::size_t d = 0; d < S::taps[0]; ++d) for (std::size_t h = 0; h < S::taps[1]; ++h)
          for (std::size_t v = 0; v < S::taps[2]; ++v, weight += S::run) {
            const T* tap = in + d * S::reach[0] + h * S::reach[1] + v * S::reach[2];
            for (std::size_t n = 0; n < S::run; ++n) sum = add(sum, mul(static_cast<A>(tap[n]), static_cast<A>(weight[n])));
          }
        *y++ = Post::apply(sum, c);
      }
}
