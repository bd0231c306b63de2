// Nested loops over extents that are known when this is compiled. Body gets two offsets, each the sum of the
// indices times that operand's strides.
template <class S, std::size_t Axis = 0, class Body>
void nest(std::size_t a, std::size_t b, const Body& body) noexcept {
  if constexpr (Axis == sizeof S::extent / sizeof(std::size_t)) {
    body(a, b);
  } else {
    for (std::size_t i = 0; i < S::extent[Axis]; ++i) nest<S, Axis + 1>(a + i * S::a[Axis], b + i * S::b[Axis], body);
  }
}
