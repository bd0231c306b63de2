// Enlargement by whole factors. Along each axis a cell of the result mixes two cells of x, `low` and the next,
// the next with weight `part`.
struct repeat_cells {
  std::size_t low;
  float part;
  constexpr repeat_cells(std::size_t i, std::size_t factor, std::size_t) noexcept : low(i / factor), part(0.0f) {}
};
// source = (i + 1/2) / factor - 1/2, kept inside.
struct half_pixel {
  std::size_t low;
  float part;
  constexpr half_pixel(std::size_t i, std::size_t factor, std::size_t n) noexcept : low(0), part(0.0f) {
    if (2 * i + 1 < factor) return;
    const std::size_t twice = 2 * i + 1 - factor;
    low = least(twice / (2 * factor), n - 1);
    if (low + 1 < n) part = static_cast<float>(twice % (2 * factor)) / static_cast<float>(2 * factor);
  }
};
// source = i / factor, kept inside.
struct asymmetric {
  std::size_t low;
  float part;
  constexpr asymmetric(std::size_t i, std::size_t factor, std::size_t n) noexcept : low(i / factor), part(0.0f) {
    if (low + 1 < n) part = static_cast<float>(i % factor) / static_cast<float>(factor);
  }
};

// Adds the cell of x, times `weight`, to the cell at y; splits in two along each axis that is enlarged.
template <class S, class Mode, std::size_t Axis = 0>
void upsample_cell(const float* x, float* y, const std::size_t* index, float weight) noexcept {
  if constexpr (Axis == sizeof S::extent / sizeof(std::size_t)) {
    for (std::size_t c = 0; c < S::run; ++c) y[c] += weight * x[c];
  } else {
    const Mode at(index[Axis], S::factor[Axis], S::extent[Axis]);
    const float* low = x + at.low * S::stride[Axis];
    upsample_cell<S, Mode, Axis + 1>(low, y, index, weight * (1.0f - at.part));
    if (at.part > 0.0f) upsample_cell<S, Mode, Axis + 1>(low + S::stride[Axis], y, index, weight * at.part);
  }
}

template <class S, class Mode, std::size_t Axis = 0>
void upsample(const float* x, float*& y, std::size_t* index) noexcept {
  if constexpr (Axis == sizeof S::extent / sizeof(std::size_t)) {
    for (std::size_t c = 0; c < S::run; ++c) y[c] = 0.0f;
    upsample_cell<S, Mode>(x, y, index, 1.0f);
    y += S::run;
  } else {
    for (index[Axis] = 0; index[Axis] < S::extent[Axis] * S::factor[Axis]; ++index[Axis]) upsample<S, Mode, Axis + 1>(x, y, index);
  }
}
