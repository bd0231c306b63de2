// y = activation(f(a, b)), element by element; extents, and the strides of a and b, are those of S, with 0 where
// an operand is repeated. y may be an operand that is not repeated.
template <class S, class F, class Act> void zip(const float* a, const float* b, float* y) noexcept {
  nest<S>(0, 0, [&](std::size_t i, std::size_t j) {
    for (std::size_t k = 0; k < S::run; ++k) y[k] = Act::apply(F::apply(a[i + k * S::run_a], b[j + k * S::run_b]));
    y += S::run;
  });
}
