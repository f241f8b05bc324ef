// The parts of a transform of polynomials on split arrays (re[], im[]): layers, passes, the leaf in registers, the roots they take.
//
// A block of n numbers is a polynomial modulo x^n - c. With w^2 = c it is known by its remainders modulo x^(n/2) - w and x^(n/2) + w, which
// are a + w b and a - w b of its halves: a layer, of six fused multiply-adds for two numbers, w the same for the whole block. The way back
// is a sum and a difference. Nothing is ever put into another order: a spectrum stays in that of this tree. The last log2 W layers (W
// lanes) run in registers on W blocks of W numbers, after a transposition.
#pragma once
#include "core/cache.hpp"
#include "core/lanes.hpp"

namespace quatrefoil {
inline namespace QF_ISA {
namespace fft {

template <class V>
struct Complex {
  V re, im;
};
template <class V>
QF_HD Complex<V> operator+(Complex<V> a, Complex<V> b) {
  return {a.re + b.re, a.im + b.im};
}
template <class V>
QF_HD Complex<V> operator-(Complex<V> a, Complex<V> b) {
  return {a.re - b.re, a.im - b.im};
}
template <class V>
QF_HD Complex<V> operator*(Complex<V> a, Complex<V> b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
template <class V>
QF_HD Complex<V> multiply_conj(Complex<V> a, Complex<V> b) {  // a conj(b)
  return {a.re * b.re + a.im * b.im, a.im * b.re - a.re * b.im};
}
template <class V>
QF_HD Complex<V> times_i(Complex<V> z) {
  return {-z.im, z.re};
}
template <class V>
QF_HD Complex<V> over_i(Complex<V> z) {
  return {z.im, -z.re};
}
template <class V>
QF_HD Complex<V> scale(Complex<V> z, Element<V> by) {
  return {z.re * by, z.im * by};
}
template <class V>
QF_HD Complex<V> load_complex(const Element<V>* re, const Element<V>* im) {
  return {load<V>(re), load<V>(im)};
}
template <class V>
QF_HD void store_complex(Element<V>* re, Element<V>* im, Complex<V> z) {
  store(re, z.re);
  store(im, z.im);
}

// The R-point transform in place, R = 3, 4, 5; sign -1 forward, +1 inverse.
template <int R, int sign, class V>
QF_HD void butterfly(Complex<V>* z) {
  using T = Element<V>;
  const auto turn = [](Complex<V> x) { return sign < 0 ? over_i(x) : times_i(x); };
  if constexpr (R == 4) {
    const Complex<V> s = z[0] + z[2], t = z[0] - z[2], u = z[1] + z[3], v = turn(z[1] - z[3]);
    z[0] = s + u;
    z[1] = t + v;
    z[2] = s - u;
    z[3] = t - v;
  } else if constexpr (R == 3) {
    const Complex<V> s = z[1] + z[2], d = scale(turn(z[1] - z[2]), T(0.86602540378443864676));  // sin(pi/3)
    const Complex<V> t = z[0] - scale(s, T(0.5));
    z[0] = z[0] + s;
    z[1] = t + d;
    z[2] = t - d;
  } else {
    static_assert(R == 5);
    constexpr T c1 = T(0.30901699437494742410), c2 = T(-0.80901699437494742410);  // cos 2pi/5, cos 4pi/5
    constexpr T s1 = T(0.95105651629515357212), s2 = T(0.58778525229247312917);
    const Complex<V> a = z[1] + z[4], b = z[2] + z[3], c = turn(z[1] - z[4]), d = turn(z[2] - z[3]);
    const Complex<V> t1 = z[0] + scale(a, c1) + scale(b, c2), t2 = z[0] + scale(a, c2) + scale(b, c1);
    const Complex<V> u1 = scale(c, s1) + scale(d, s2), u2 = scale(c, s2) - scale(d, s1);
    z[0] = z[0] + a + b;
    z[1] = t1 + u1;
    z[4] = t1 - u1;
    z[2] = t2 + u2;
    z[3] = t2 - u2;
  }
}

// ---- layers. The roots of a block with c = exp(i t): of a pair, one layer, exp(i t / 2); of a quad, two layers, exp(i t / 2),
// exp(i t / 4), exp(3 i t / 4). Behind them stand those of the blocks that it leaves.

constexpr int roots_of(int layers) {  // how many
  return layers == 0 ? 0 : layers % 2 ? 1 + 2 * roots_of(layers - 1) : 3 + 4 * roots_of(layers - 2);
}

// Roots that are the same in all lanes, or one a lane.
template <class V, bool same>
struct Roots {
  static constexpr int step = same ? 2 : 2 * kWidth<V>;
  const Element<V>* at;
  QF_HD Complex<V> operator[](int i) const {
    const Element<V>* const w = at + i * step;
    if constexpr (same)
      return {broadcast<V>(w[0]), broadcast<V>(w[1])};
    else
      return load_complex<V>(w, w + kWidth<V>);
  }
  QF_HD Roots behind(int i) const { return {at + i * step}; }
};

// (a, b) -> (a + w b, a - w b). The difference is 2 a less the sum: one operation where the machine fuses two.
template <class V>
QF_HD void layer(Complex<V>& a, Complex<V>& b, Complex<V> w) {
#if defined(__FMA__)
  const Complex<V> sum{a.re - b.im * w.im + b.re * w.re, a.im + b.re * w.im + b.im * w.re};
  b = {a.re * Element<V>(2) - sum.re, a.im * Element<V>(2) - sum.im};
  a = sum;
#else
  const Complex<V> x = b * w;
  b = a - x;
  a = a + x;
#endif
}

// A pair or a quad of numbers `stride` apart, and the way back: twice or four times the numbers.
template <int layers, class V, bool same>
QF_HD void split(Complex<V>* z, int stride, Roots<V, same> roots) {
  if constexpr (layers == 1) {
    layer(z[0], z[stride], roots[0]);
  } else if constexpr (layers == 2) {
    const Complex<V> half = roots[0], quarter = roots[1];
    layer(z[0], z[2 * stride], half);
    layer(z[stride], z[3 * stride], half);
    layer(z[0], z[stride], quarter);
    layer(z[2 * stride], z[3 * stride], times_i(quarter));
  }
}
template <int layers, class V, bool same>
QF_HD void merge(Complex<V>* z, int stride, Roots<V, same> roots) {
  if constexpr (layers == 1) {
    const Complex<V> a = z[0], b = z[stride];
    z[0] = a + b;
    z[stride] = multiply_conj(a - b, roots[0]);
  } else if constexpr (layers == 2) {
    const Complex<V> s = z[0] + z[stride], t = z[2 * stride] + z[3 * stride];
    const Complex<V> e = z[0] - z[stride], f = over_i(z[2 * stride] - z[3 * stride]);
    z[0] = s + t;
    z[stride] = multiply_conj(e + f, roots[1]);
    z[2 * stride] = multiply_conj(s - t, roots[0]);
    z[3 * stride] = multiply_conj(e - f, roots[2]);
  }
}

// Up to four layers are done as the upper ones, then the lower ones: each a pair or a quad.
constexpr int lower_layers(int layers) { return layers < 2 ? layers : 2; }
constexpr int upper_layers(int layers) { return layers - lower_layers(layers); }
// The roots of block g below the upper layers.
template <int layers, class V, bool same>
QF_HD Roots<V, same> below(Roots<V, same> roots, int g) {
  return roots.behind(roots_of(upper_layers(layers)) + g * roots_of(lower_layers(layers)));
}

// The 2^layers numbers of z.
template <int layers, class V>
QF_HD void forward(Complex<V>* z, Roots<V, true> roots) {
  constexpr int rows = 1 << lower_layers(layers), blocks = 1 << upper_layers(layers);
#pragma GCC unroll 4
  for (int j = 0; j < rows; ++j) split<upper_layers(layers)>(z + j, rows, roots);
#pragma GCC unroll 4
  for (int g = 0; g < blocks; ++g) split<lower_layers(layers)>(z + g * rows, 1, below<layers>(roots, g));
}
template <int layers, class V>
QF_HD void inverse(Complex<V>* z, Roots<V, true> roots) {
  constexpr int rows = 1 << lower_layers(layers), blocks = 1 << upper_layers(layers);
#pragma GCC unroll 4
  for (int g = 0; g < blocks; ++g) merge<lower_layers(layers)>(z + g * rows, 1, below<layers>(roots, g));
#pragma GCC unroll 4
  for (int j = 0; j < rows; ++j) merge<upper_layers(layers)>(z + j, rows, roots);
}

// ---- passes: the layers of a block of n numbers; q = n / 2^layers is a multiple of W. Each reads and writes every number once: beyond L1
// that is what it costs, so there are as few as possible.

template <int layers, bool back, class T>
QF_HD void pass(T* re, T* im, int64_t n, const T* roots) {
  using V = Lanes<T>;
  constexpr int R = 1 << layers;
  const int64_t q = n / R;
  for (int64_t j = 0; j < q; j += kLanes<T>) {
    Complex<V> z[R];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) z[r] = load_complex<V>(re + j + r * q, im + j + r * q);
    if constexpr (back)
      inverse<layers>(z, Roots<V, true>{roots});
    else
      forward<layers>(z, Roots<V, true>{roots});
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) store_complex(re + j + r * q, im + j + r * q, z[r]);
  }
}

// ---- the leaf: W x W numbers in registers

constexpr int log2_of(int64_t n) { return n <= 1 ? 0 : 1 + log2_of(n / 2); }
template <class T>
constexpr int kLaneLayers = log2_of(kLanes<T>);

// The steps m, 2 m, ... < below of the transposition of rows `stride` apart, of which z[0] is one.
template <int m, int below, class V>
QF_HD void exchange_rows(Complex<V>* z, int stride) {
  if constexpr (m < below) {
    constexpr auto lanes = std::make_integer_sequence<int, kWidth<V>>{};
    const int step = m / stride;  // in rows of z
#pragma GCC unroll 4
    for (int i = 0; i < below / stride; ++i)
      if (!(i & step)) {
        exchange<m>(z[i * stride].re, z[(i + step) * stride].re, lanes);
        exchange<m>(z[i * stride].im, z[(i + step) * stride].im, lanes);
      }
    exchange_rows<2 * m, below>(z, stride);
  }
}

enum class Leaf { forward, multiply, inverse };

// Blocks of 2^layers W numbers, and down to single ones. Roots: of each block, and one a lane. Few rows at a time, so that shuffles and
// sums alternate: they use different parts of the processor.
template <Leaf mode, int layers, class T>
QF_HD void leaf(T* re, T* im, const T* k_re, const T* k_im, const T* of_blocks, const T* of_lanes) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>, rows = min(W, 4), lane_layers = kLaneLayers<T>;
  constexpr int size = 1 << layers, part = 1 << lower_layers(layers);  // of a block, and below its upper layers
  const Roots<V, false> lanes{of_lanes};
  const auto blocks = [&](int i) { return Roots<V, true>{of_blocks}.behind(i / size * roots_of(layers)); };
  const auto parts = [&](int i) { return below<layers>(blocks(i), i % size / part); };
  Complex<V> z[W];
#pragma GCC unroll 16
  for (int i = 0; i < W; ++i) z[i] = load_complex<V>(re + i * W, im + i * W);
  if constexpr (mode != Leaf::inverse) {
#pragma GCC unroll 2
    for (int b = 0; b < W; b += size)
#pragma GCC unroll 4
      for (int j = 0; j < part; ++j) split<upper_layers(layers)>(z + b + j, part, blocks(b));
#pragma GCC unroll 4
    for (int g = 0; g < W; g += rows) {
#pragma GCC unroll 4
      for (int i = g; i < g + rows; i += part) split<lower_layers(layers)>(z + i, 1, parts(i));
      exchange_rows<1, rows>(z + g, 1);
    }
#pragma GCC unroll 4
    for (int j = 0; j < rows; ++j) {
      exchange_rows<rows, W>(z + j, rows);
      split<upper_layers(lane_layers)>(z + j, rows, lanes);
    }
  }
#pragma GCC unroll 4
  for (int g = 0; g < W; g += rows) {
    if constexpr (mode != Leaf::inverse) split<lower_layers(lane_layers)>(z + g, 1, below<lane_layers>(lanes, g / rows));
    if constexpr (mode == Leaf::multiply)
#pragma GCC unroll 4
      for (int i = g; i < g + rows; ++i) z[i] = z[i] * load_complex<V>(k_re + i * W, k_im + i * W);
    if constexpr (mode != Leaf::forward) merge<lower_layers(lane_layers)>(z + g, 1, below<lane_layers>(lanes, g / rows));
  }
  if constexpr (mode != Leaf::forward) {
#pragma GCC unroll 4
    for (int j = 0; j < rows; ++j) {
      merge<upper_layers(lane_layers)>(z + j, rows, lanes);
      exchange_rows<rows, W>(z + j, rows);
    }
#pragma GCC unroll 4
    for (int g = 0; g < W; g += rows) {
      exchange_rows<1, rows>(z + g, 1);
#pragma GCC unroll 4
      for (int i = g; i < g + rows; i += part) merge<lower_layers(layers)>(z + i, 1, parts(i));
    }
#pragma GCC unroll 2
    for (int b = 0; b < W; b += size)
#pragma GCC unroll 4
      for (int j = 0; j < part; ++j) merge<upper_layers(layers)>(z + b + j, part, blocks(b));
  }
#pragma GCC unroll 16
  for (int i = 0; i < W; ++i) store_complex(re + i * W, im + i * W, z[i]);
}

// ---- the tree of a transform of N = R M numbers modulo x^N - i, M a power of two: R blocks, then pairs and quads

struct Length {
  int64_t N;
  int R;
};

constexpr int kMostFirst = kVectorBytes == 64 ? 2 : 1;

// The layers of the pass over a block that has so many left before its rows are registers; 0: the leaf does them.
template <class T>
QF_HD int pass_layers(int left) {
  const int beyond = left - kLaneLayers<T>;
  if (beyond <= 0) return 0;
  if (kVectorBytes == 64 && sizeof(T) == 4 && beyond % 4 == 0) return 4;
  return beyond <= 2 || beyond == 4 ? 2 : 3;
}
template <class T>
int passes(int left) {
  int count = 0;
  while (const int layers = pass_layers<T>(left)) left -= layers, ++count;
  return count;
}
// The layers that the first pass does beside its R blocks: as many as save a pass over the numbers and fit its registers.
template <class T>
int first_layers(Length length) {
  const int left = log2_of(length.N / length.R / kLanes<T>), most = length.R == 5 ? kMostFirst - 1 : kMostFirst;
  int best = 0;
  for (int layers = 1; layers <= most; ++layers)
    if (passes<T>(left - layers) < passes<T>(left - best)) best = layers;
  return best;
}

// The power exp(2 pi i turns / of) of a block: c = x^n.
struct Angle {
  int64_t turns, of;
};
// Of block b among the count = R 2^k of one level.
inline Angle angle_of(Length length, int64_t b, int64_t count) {
  const int64_t each = count / length.R;
  Angle a{1 - 4 * (b / each), 4 * length.R};  // the R-th roots of i
  for (int64_t bit = each / 2; bit; bit /= 2) a = {b & bit ? a.turns + a.of : a.turns, 2 * a.of};
  return a;
}

// exp(2 pi i k / n). The angle is reduced to an eighth of a turn in integers: rounding it first would cost up to 3 eps.
template <class T>
void unit_root(int64_t k, int64_t n, T* re, T* im) {
  constexpr double kQuarterTurn = 1.57079632679489661923;
  k = (k % n + n) % n;
  const int64_t quarter = 4 * k / n, rest = 4 * k - quarter * n;
  const bool far = 2 * rest > n;  // nearer to the next axis
  const double angle = kQuarterTurn * (double(far ? n - rest : rest) / double(n));
  const double c = far ? __builtin_sin(angle) : __builtin_cos(angle), s = far ? __builtin_cos(angle) : __builtin_sin(angle);
  const double cosine[4] = {c, -s, -c, s}, sine[4] = {s, c, -s, -c};
  *re = T(cosine[quarter]);
  *im = T(sine[quarter]);
}

// The roots of `layers` layers of a block, `step` apart, their imaginary parts `im` behind the real ones.
template <class T>
void fill_roots(int layers, Angle a, T* to, int64_t step, int64_t im) {
  if (layers == 0) return;
  const auto put = [&](int64_t k, int64_t n) {
    unit_root(k, n, to, to + im);
    to += step;
  };
  put(a.turns, 2 * a.of);
  if (layers % 2) {
    for (int r = 0; r < 2; ++r, to += roots_of(layers - 1) * step) fill_roots(layers - 1, {a.turns + r * a.of, 2 * a.of}, to, step, im);
  } else {
    put(a.turns, 4 * a.of);
    put(3 * a.turns, 4 * a.of);
    constexpr int order[4] = {0, 2, 1, 3};
    for (int r = 0; r < 4; ++r, to += roots_of(layers - 2) * step)
      fill_roots(layers - 2, {a.turns + order[r] * a.of, 4 * a.of}, to, step, im);
  }
}

struct Pass {
  int layers;
  int64_t blocks, roots;  // how many it works on, and where in the table their roots begin
};

// What is done from the top down, and the table of its roots: of every pass, of the leaves' blocks, of their lanes.
template <class T>
struct Tree {
  Pass first{}, passes[32], leaf{};
  int count = 0;
  int64_t lanes = 0, size = 0;

  explicit Tree(Length length) {
    int left = log2_of(length.N / length.R / kLanes<T>);
    int64_t blocks = length.R;
    const auto next = [&](int layers) {
      const Pass pass{layers, blocks, size};
      size += blocks * roots_of(layers) * 2;
      blocks <<= layers;
      left -= layers;
      return pass;
    };
    first = next(first_layers<T>(length));
    while (const int layers = pass_layers<T>(left)) passes[count++] = next(layers);
    leaf = next(left);
    lanes = (size + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
    size = lanes + blocks * roots_of(kLaneLayers<T>) * 2;
  }
};

constexpr int kTreeTable = 1;  // + R

template <class T>
void fill_tree(void* data, const TableKey& key) {
  constexpr int W = kLanes<T>;
  T* const table = static_cast<T*>(data);
  const Length length{key.n, key.kind - kTreeTable};
  const Tree<T> tree(length);
  const auto fill = [&](const Pass& pass) {
    for (int64_t b = 0; b < pass.blocks; ++b)
      fill_roots(pass.layers, angle_of(length, b, pass.blocks), table + pass.roots + b * roots_of(pass.layers) * 2, 2, 1);
  };
  fill(tree.first);
  for (int i = 0; i < tree.count; ++i) fill(tree.passes[i]);
  fill(tree.leaf);
  for (int64_t b = 0; b < length.N / W; ++b)
    fill_roots(kLaneLayers<T>, angle_of(length, b, length.N / W), table + tree.lanes + b / W * roots_of(kLaneLayers<T>) * 2 * W + b % W,
               2 * W, W);
}
template <class T>
const T* tree_table(Length length) {
  const auto bytes = std::size_t(Tree<T>(length).size) * sizeof(T);
  return static_cast<const T*>(cached_table({kTreeTable + length.R, kLanes<T>, int(sizeof(T)), length.N}, bytes, &fill_tree<T>));
}

}  // namespace fft
}  // namespace QF_ISA
}  // namespace quatrefoil
