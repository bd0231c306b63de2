// Products of patches of x with a matrix of weights: convolutions, dense layers, products with constant matrices.
//
// A shape S says, in elements: the extents of the result `out` [planes, rows, columns]; how far the patch moves
// in x per plane, row and column (`step`); the `taps` of a patch and how far they lie apart (`reach`); the `run`
// of neighbouring inputs that each tap reads; and per group the number of outputs. `channels` is the distance
// between neighbouring cells of y. x is a copy as the units want it: `operand` makes it, with its padding.
//
// Weights are packed in blocks of output channels, [block][tap][group of inputs][output][input in group], the last
// block and the last group filled with zeros; what inputs lie beyond a run does therefore not matter.
//
// Sums have 32 bits, or 64: then 32 bits hold those of S::part groups of inputs, which are added up.
//
// A tile of neighbouring cells times a few vectors of channels is summed in registers, and Post makes results of the
// sums before they leave the cache.

// The copy of x, lifted, with the cells around it, and so many elements behind it as a last group may read.
template <class S, class O, int Lift, class T> O* lifted_operand(const T* x, unsigned char* memory) noexcept {
  constexpr std::size_t row = S::inside[2] * S::in_channels, whole = S::around[2] * S::in_channels;
  constexpr std::size_t size = S::around[0] * S::around[1] * whole;
  O* const to = place<O>(memory, size + 4);
  constexpr bool padded = S::around[0] != S::inside[0] || S::around[1] != S::inside[1] || S::around[2] != S::inside[2];
  if constexpr (padded) fill(to, size, static_cast<O>(Lift));
  for (std::size_t i = 0; i < 4; ++i) to[size + i] = 0;
  for (std::size_t i = 0; i < S::inside[0]; ++i) for (std::size_t j = 0; j < S::inside[1]; ++j) {
    O* const at = to + ((i + S::before[0]) * S::around[1] + j + S::before[1]) * whole + S::before[2] * S::in_channels;
    for (std::size_t k = 0; k < row; ++k) at[k] = static_cast<O>(static_cast<int>(x[k]) + Lift);
    x += row;
  }
  return to;
}

// The width of the next block when `rest` channels are left.
constexpr std::size_t block_width(std::size_t rest) noexcept { return rest > 8 ? 16 : 8; }

// Cuts `extent` into the fewest pieces of at most `most`, as equal as can be: `n`, of which `longer` have one more.
struct cut_of {
  std::size_t n, size, longer;
  constexpr cut_of(std::size_t extent, std::size_t most) noexcept
      : n((extent + most - 1) / most), size(extent / n), longer(extent % n) {}
};

// Groups of inputs of one output.
template <class S> constexpr std::size_t depth_of() noexcept {
  constexpr std::size_t group = dot_of<S>::type::group;
  return S::taps[0] * S::taps[1] * S::taps[2] * ((S::run + group - 1) / group);
}

// Results of the first N of some sums.
template <class S, class Post, std::size_t N, class A, class Y>
void product_results(const A* sum, const A* bias, Y* y, std::size_t channel) noexcept {
  if constexpr (S::has_bias || dot_of<S>::lift != 0) {
    A total[N];
    for (std::size_t n = 0; n < N; ++n) total[n] = add(sum[n], bias[channel + n]);
    finish<Post, N>(total, y, channel);
  } else {
    static_cast<void>(bias);
    finish<Post, N>(sum, y, channel);
  }
}

// The sums of a tile: kept in vectors, or, where 32 bits hold only parts of them, added up in 64 bits.
template <class S, std::size_t P, std::size_t V> struct product_sums {
  using D = typename dot_of<S>::type;
  static constexpr std::size_t N = V * D::outputs;
  typename D::vec sum[P][V];
  std::conditional_t<S::part == 0, std::int32_t, std::int64_t> total[P][N];

  void clear() noexcept {
    UNFLOAT_UNROLL for (std::size_t p = 0; p < P; ++p) UNFLOAT_UNROLL for (std::size_t v = 0; v < V; ++v) sum[p][v] = D::zero();
  }
  void start() noexcept {
    clear();
    if constexpr (S::part > 0) std::memset(total, 0, sizeof total);
  }
  // Brings the vectors into the totals.
  void collect() noexcept {
    if constexpr (S::part == 0) {
      for (std::size_t p = 0; p < P; ++p) D::store(sum[p], total[p]);
    } else {
      for (std::size_t p = 0; p < P; ++p) {
        std::int32_t part[N];
        D::store(sum[p], part);
        for (std::size_t n = 0; n < N; ++n) total[p][n] += part[n];
      }
      clear();
    }
  }
};

template <class S, class Post, std::size_t B, std::size_t Valid, std::size_t P, class O, class W, class A, class Y>
void product_tile(const O* x, const W* w, const A* bias, Y* y, std::size_t channel) noexcept {
  using D = typename dot_of<S>::type;
  // Vectors of a cell: more where there are few cells.
  constexpr std::size_t all = B / D::outputs, V = P == 1 ? least(all, 4) : least(all, 2), N = V * D::outputs;
  for (std::size_t from = 0; from < least(B, Valid); from += N) {
    product_sums<S, P, V> sums;
    sums.start();
    const W* wk = w + from * D::group;
    std::size_t parts = 0;
    for (std::size_t i = 0; i < S::taps[0]; ++i) for (std::size_t j = 0; j < S::taps[1]; ++j)
      for (std::size_t k = 0; k < S::taps[2]; ++k) {
        const O* in = x + i * S::reach[0] + j * S::reach[1] + k * S::reach[2];
        for (std::size_t c = 0; c < S::run; c += D::group, wk += B * D::group) {
          decltype(D::weights(wk)) weights[V];
          UNFLOAT_UNROLL for (std::size_t v = 0; v < V; ++v) weights[v] = D::weights(wk + v * D::outputs * D::group);
          UNFLOAT_UNROLL for (std::size_t p = 0; p < P; ++p) {
            const auto inputs = D::inputs(in + p * S::step[2] + c);
            UNFLOAT_UNROLL for (std::size_t v = 0; v < V; ++v) sums.sum[p][v] = D::add(sums.sum[p][v], weights[v], inputs);
          }
          if constexpr (S::part > 0) {
            if (++parts % S::part == 0) sums.collect();
          }
        }
      }
    static_cast<void>(parts);
    sums.collect();
    for (std::size_t p = 0; p < P; ++p) {
      Y* const to = y + p * S::channels + from;
      if constexpr (Valid >= N) {
        if (Valid % N == 0 || from + N <= Valid) product_results<S, Post, N>(sums.total[p], bias, to, channel + from);
      }
      if constexpr (Valid % N != 0) {
        if (from + N > Valid) product_results<S, Post, Valid % N>(sums.total[p], bias, to, channel + from);
      }
    }
  }
}

template <class S, class Post, std::size_t B, std::size_t Valid, class O, class W, class A, class Y>
void product_block(const O* x, const W* w, const A* bias, Y* y, std::size_t channel) noexcept {
  constexpr cut_of columns(S::out[2], 3);
  for (std::size_t i = 0; i < S::out[0]; ++i) for (std::size_t j = 0; j < S::out[1]; ++j) {
    const O* in = x + i * S::step[0] + j * S::step[1];
    Y* out = y + (i * S::out[1] + j) * S::out[2] * S::channels;
    std::size_t at = 0;
    if constexpr (columns.longer > 0)
      for (std::size_t t = 0; t < columns.longer; ++t, at += columns.size + 1)
        product_tile<S, Post, B, Valid, columns.size + 1>(in + at * S::step[2], w, bias, out + at * S::channels, channel);
    for (std::size_t t = columns.longer; t < columns.n; ++t, at += columns.size)
      product_tile<S, Post, B, Valid, columns.size>(in + at * S::step[2], w, bias, out + at * S::channels, channel);
  }
}

template <class S, class Post, std::size_t Done = 0, class O, class W, class A, class Y>
void product_blocks(const O* x, const W* w, const A* bias, Y* y, std::size_t channel) noexcept {
  constexpr std::size_t rest = S::group_out - Done, B = block_width(rest), n = rest < B ? 1 : rest / B;
  constexpr std::size_t depth = depth_of<S>() * dot_of<S>::type::group;
  for (std::size_t i = Done; i < Done + n * B; i += B)
    product_block<S, Post, B, least(B, rest)>(x, w + i * depth, bias, y + i, channel + i);
  if constexpr (n * B < rest) product_blocks<S, Post, Done + n * B>(x, w, bias, y, channel);
}

// y = Post(weights of each patch of x + bias). `lifted` is the bias where inputs are lifted.
template <class S, class Post, class A, class T, class W, class Y>
void product(const T* x, const W* w, const A* bias, const A* lifted, unsigned char* memory, Y* y) noexcept {
  const auto* const in = lifted_operand<S, typename dot_of<S>::type::operand, dot_of<S>::lift>(x, memory);
  if constexpr (dot_of<S>::lift != 0) bias = lifted;
  for (std::size_t g = 0; g < S::groups; ++g)
    product_blocks<S, Post>(in + g * S::run, w + g * S::group_weights, bias, y + g * S::group_out, g * S::group_out);
}
