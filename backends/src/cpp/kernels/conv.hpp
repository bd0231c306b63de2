// Products of patches of x with a matrix of weights: convolutions, dense layers, matrix products.
//
// A shape S says, in elements: the extents of the result `out` [planes, rows, columns]; how far the patch moves
// in x per plane, row and column (`step`); the `taps` of a patch and how far they lie apart (`reach`); the `run`
// of neighbouring inputs that each tap reads; and per group the number of outputs. `channels` is the distance
// between neighbouring cells of y.
//
// Weights are packed in blocks of output channels, [block][tap][input][output in block], the last block filled
// with zeros; or, with `row` above 0, they are a plain matrix whose rows are that long.
//
// A tile of neighbouring cells times a few vectors of channels is summed in registers. Sums of more than
// `longest` products are cut: each part is added to y before the next begins, which keeps the weights of a part
// in the cache, and rounding errors small.
inline constexpr std::size_t longest = 1024;

// The width of the next block when `rest` channels are left.
constexpr std::size_t block_width(std::size_t rest, bool packed) noexcept {
  if (rest >= 64) return 64;
  if (rest >= 32) return 32;
  if (packed) return rest > 8 ? 16 : rest > 4 ? 8 : 4;
  return rest >= 16 ? 16 : rest >= 8 ? 8 : rest >= 4 ? 4 : rest >= 2 ? 2 : 1;
}

// Vectors per cell for a tile of `cells`: a power of two.
constexpr std::size_t tile_vectors(std::size_t vectors, std::size_t cells) noexcept {
  std::size_t n = 1;
  while (n * 2 <= least(least(vectors, 8), accumulators / cells)) n *= 2;
  return n;
}

// What a part of a long sum covers: 0 all taps, 1 one plane of taps, 2 one row, 3 one tap, 4 a piece of a tap.
template <class S> constexpr std::size_t part_level() noexcept {
  std::size_t size = S::run * S::taps[0] * S::taps[1] * S::taps[2], level = 0;
  while (size > longest && level < 3) size /= S::taps[level++];
  return size > longest ? 4 : level;
}

template <class S, class Act, std::size_t B, std::size_t Valid, std::size_t R, std::size_t Q>
void conv_tile(const float* x, const float* w, const float* bias, float* y, std::size_t run, bool first, bool last) noexcept {
  constexpr std::size_t L = least(B, lanes), P = R * Q, V = tile_vectors(B / L, P), level = part_level<S>();
  // Too few independent sums would wait for one another: several inputs at a time make more.
  constexpr std::size_t U = P * V >= 8 ? 1 : P * V > 2 ? 2 : 4;
  constexpr std::size_t row = S::row > 0 ? S::row : B;
  for (std::size_t from = 0; from < least(B, Valid); from += V * L) {
    vec<L> sum[U][P][V];
    UNFLOAT_UNROLL for (std::size_t p = 0; p < P; ++p) UNFLOAT_UNROLL for (std::size_t v = 0; v < V; ++v) {
      sum[0][p][v] = vec<L>{};
      const std::size_t c = from + v * L;
      if (!first) {
        const float* at = y + (p / Q * S::out[2] + p % Q) * S::channels + c;
        if (c < Valid) std::memcpy(&sum[0][p][v], at, least(L, Valid - c) * sizeof(float));
      } else if constexpr (S::has_bias) {
        sum[0][p][v] = load<L>(bias + c);
      }
    }
    UNFLOAT_UNROLL for (std::size_t u = 1; u < U; ++u) UNFLOAT_UNROLL for (std::size_t p = 0; p < P; ++p)
      UNFLOAT_UNROLL for (std::size_t v = 0; v < V; ++v) sum[u][p][v] = vec<L>{};
    const float* wk = w + from;
    for (std::size_t i = 0; i < (level < 1 ? S::taps[0] : 1); ++i) for (std::size_t j = 0; j < (level < 2 ? S::taps[1] : 1); ++j)
      for (std::size_t k = 0; k < (level < 3 ? S::taps[2] : 1); ++k) {
        const float* in = x + i * S::reach[0] + j * S::reach[1] + k * S::reach[2];
        const std::size_t n = level < 4 ? S::run : run;
        std::size_t c = 0;
        for (const std::size_t whole = n - n % U; c < whole; c += U) {
          UNFLOAT_UNROLL for (std::size_t u = 0; u < U; ++u) {
            vec<L> weight[V];
            UNFLOAT_UNROLL for (std::size_t v = 0; v < V; ++v) weight[v] = load<L>(wk + v * L);
            UNFLOAT_UNROLL for (std::size_t p = 0; p < P; ++p) {
              const float value = in[p / Q * S::step[1] + p % Q * S::step[2] + c + u];
              UNFLOAT_UNROLL for (std::size_t v = 0; v < V; ++v) sum[u][p][v] = sum[u][p][v] + value * weight[v];
            }
            wk += row;
          }
        }
        for (; U > 1 && c < n; ++c, wk += row)
          UNFLOAT_UNROLL for (std::size_t p = 0; p < P; ++p) UNFLOAT_UNROLL for (std::size_t v = 0; v < V; ++v)
            sum[0][p][v] = sum[0][p][v] + in[p / Q * S::step[1] + p % Q * S::step[2] + c] * load<L>(wk + v * L);
      }
    UNFLOAT_UNROLL for (std::size_t p = 0; p < P; ++p) UNFLOAT_UNROLL for (std::size_t v = 0; v < V; ++v) {
      vec<L> total = sum[0][p][v];
      UNFLOAT_UNROLL for (std::size_t u = 1; u < U; ++u) total = total + sum[u][p][v];
      if (last) total = clamp<Act, L>(total);
      const std::size_t c = from + v * L;
      float* at = y + (p / Q * S::out[2] + p % Q) * S::channels + c;
      if (c < Valid) std::memcpy(at, &total, least(L, Valid - c) * sizeof(float));
    }
    if constexpr (is_late<Act>)
      for (std::size_t p = 0; last && p < P; ++p)
        activate<Act>(y + (p / Q * S::out[2] + p % Q) * S::channels + from, least(V * L, Valid - from));
  }
}

// Cuts `extent` into the fewest pieces of at most `most`, as equal as can be: `n`, of which `longer` have one more.
struct cut {
  std::size_t n, size, longer;
  constexpr cut(std::size_t extent, std::size_t most) noexcept
      : n((extent + most - 1) / most), size(extent / n), longer(extent % n) {}
};

template <class S, class Act, std::size_t B, std::size_t Valid, std::size_t R>
void conv_rows(const float* x, const float* w, const float* bias, float* y, std::size_t run, bool first, bool last) noexcept {
  constexpr std::size_t L = least(B, lanes), V = least(B / L, registers == 32 ? 4 : 2);
  constexpr cut columns(S::out[2], least(14, accumulators / V));
  std::size_t at = 0;
  if constexpr (columns.longer > 0)
    for (std::size_t t = 0; t < columns.longer; ++t, at += columns.size + 1)
      conv_tile<S, Act, B, Valid, R, columns.size + 1>(x + at * S::step[2], w, bias, y + at * S::channels, run, first, last);
  for (std::size_t t = columns.longer; t < columns.n; ++t, at += columns.size)
    conv_tile<S, Act, B, Valid, R, columns.size>(x + at * S::step[2], w, bias, y + at * S::channels, run, first, last);
}

template <class S, class Act, std::size_t B, std::size_t Valid>
void conv_planes(const float* x, const float* w, const float* bias, float* y, std::size_t run, bool first, bool last) noexcept {
  constexpr std::size_t L = least(B, lanes), V = least(B / L, registers == 32 ? 4 : 2), most = least(14, accumulators / V);
  // Several short rows make one tile.
  constexpr cut rows(S::out[1], S::out[2] * 2 <= most ? most / S::out[2] : 1);
  for (std::size_t d = 0; d < S::out[0]; ++d) {
    const float* in = x + d * S::step[0];
    float* out = y + d * S::out[1] * S::out[2] * S::channels;
    std::size_t at = 0;
    if constexpr (rows.longer > 0)
      for (std::size_t t = 0; t < rows.longer; ++t, at += rows.size + 1)
        conv_rows<S, Act, B, Valid, rows.size + 1>(in + at * S::step[1], w, bias, out + at * S::out[2] * S::channels, run, first, last);
    for (std::size_t t = rows.longer; t < rows.n; ++t, at += rows.size)
      conv_rows<S, Act, B, Valid, rows.size>(in + at * S::step[1], w, bias, out + at * S::out[2] * S::channels, run, first, last);
  }
}

// One block of channels: all parts of its sums, one after the other.
template <class S, class Act, std::size_t B, std::size_t Valid>
void conv_block(const float* x, const float* w, const float* bias, float* y) noexcept {
  constexpr std::size_t level = part_level<S>(), row = S::row > 0 ? S::row : B;
  constexpr std::size_t n0 = level > 0 ? S::taps[0] : 1, n1 = level > 1 ? S::taps[1] : 1, n2 = level > 2 ? S::taps[2] : 1;
  constexpr std::size_t n3 = level > 3 ? cut(S::run, longest).n : 1, piece = (S::run + n3 - 1) / n3;
  constexpr std::size_t taps = (level > 0 ? 1 : S::taps[0]) * (level > 1 ? 1 : S::taps[1]) * (level > 2 ? 1 : S::taps[2]);
  for (std::size_t i = 0; i < n0; ++i) for (std::size_t j = 0; j < n1; ++j) for (std::size_t k = 0; k < n2; ++k)
    for (std::size_t c = 0; c < n3; ++c) {
      const std::size_t part = ((i * n1 + j) * n2 + k) * n3 + c, run = least(piece, S::run - c * piece);
      const float* in = x + i * S::reach[0] + j * S::reach[1] + k * S::reach[2] + c * piece;
      conv_planes<S, Act, B, Valid>(in, w, bias, y, run, part == 0, part + 1 == n0 * n1 * n2 * n3);
      w += taps * run * row;
    }
}

template <class S, class Act, std::size_t Done = 0>
void conv_blocks(const float* x, const float* w, const float* bias, float* y) noexcept {
  constexpr std::size_t rest = S::group_out - Done, B = block_width(rest, S::row == 0), n = rest < B ? 1 : rest / B;
  constexpr std::size_t depth = S::row > 0 ? 1 : S::taps[0] * S::taps[1] * S::taps[2] * S::run;
  for (std::size_t i = Done; i < Done + n * B; i += B) conv_block<S, Act, B, least(B, rest)>(x, w + i * depth, bias + i, y + i);
  if constexpr (n * B < rest) conv_blocks<S, Act, Done + n * B>(x, w, bias, y);
}

// y = activation(weights of each patch of x + bias)
template <class S, class Act> void conv(const float* x, const float* w, const float* bias, float* y) noexcept {
  for (std::size_t g = 0; g < S::groups; ++g)
    conv_blocks<S, Act>(x + g * S::run, w + g * S::group_weights, bias + g * S::group_bias, y + g * S::group_out);
}
