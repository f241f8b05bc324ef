// The splitting tree of a transform modulo x^N - i, and its table of roots. N = R M, where M is a power of two. There are R blocks, and
// each layer halves them.
#pragma once
#include "core/fft/leaf.hpp"
#include "core/run/cache.hpp"

namespace quatrefoil {
inline namespace QF_ISA {
namespace fft {

struct Length {
  int64_t N;
  int R;
};

constexpr int kMaxFirstLayers = kVectorBytes == 64 ? 2 : 1;

// The number of layers of the next pass over a block with `left` remaining layers; 0 if the leaf does all of them.
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
// The number of additional layers in the first pass: those that save a later pass and fit in registers.
template <class T>
int first_layers(Length length) {
  const int left = log2_of(length.N / length.R / kLanes<T>), max_layers = length.R == 5 ? kMaxFirstLayers - 1 : kMaxFirstLayers;
  int best = 0;
  for (int layers = 1; layers <= max_layers; ++layers)
    if (passes<T>(left - layers) < passes<T>(left - best)) best = layers;
  return best;
}

// The angle of a block's c = exp(2 pi i numerator / denominator).
struct Angle {
  int64_t numerator, denominator;
};
// The angle of block b among count = R 2^k blocks of one level. R = 4 is two ordinary layers.
inline Angle angle_of(Length length, int64_t b, int64_t count) {
  const int64_t R = length.R == 4 ? 1 : length.R, each = count / R;
  Angle a{1 - 4 * (b / each), 4 * R};  // the R-th roots of i
  for (int64_t bit = each / 2; bit; bit /= 2) a = {b & bit ? a.numerator + a.denominator : a.numerator, 2 * a.denominator};
  return a;
}

// exp(2 pi i k / n). The angle is reduced to an eighth of a turn in integers: rounding first would cost up to 3 eps.
inline void unit_root(int64_t k, int64_t n, double& re, double& im) {
  constexpr double kQuarterTurn = 1.57079632679489661923;
  k = (k % n + n) % n;
  const int64_t quarter = 4 * k / n, rest = 4 * k - quarter * n;
  const bool far = 2 * rest > n;  // closer to the next axis
  const double angle = kQuarterTurn * (double(far ? n - rest : rest) / double(n));
  const double c = far ? __builtin_sin(angle) : __builtin_cos(angle), s = far ? __builtin_cos(angle) : __builtin_sin(angle);
  const double cosine[4] = {c, -s, -c, s}, sine[4] = {s, c, -s, -c};
  re = cosine[quarter], im = sine[quarter];
}

// Writes the roots of `layers` layers of a block: cosines at stride `step`, each tangent at offset `im` from its cosine. If `ends`, the
// value c of every remaining block follows. Tangents are computed for the rounded cosines, so that sines have only one rounding error.
template <class T>
void fill_roots(int layers, Angle a, bool ends, T* to, int64_t step, int64_t im) {
  double c, s;
  const auto put = [&](double x, double y) { *to = T(x), to[im] = T(y), to += step; };
  const auto rest = [&](int below, Angle angle) {
    fill_roots(below, angle, ends, to, step, im);
    to += (roots_of(below) + (ends ? 1 << below : 0)) * step;
  };
  if (layers == 0) {
    unit_root(a.numerator, a.denominator, c, s);
    if (ends) put(c, s);
    return;
  }
  unit_root(a.numerator, 2 * a.denominator, c, s);
  put(c, s / double(T(c)));
  if (layers % 2) {
    for (int r = 0; r < 2; ++r) rest(layers - 1, {a.numerator + r * a.denominator, 2 * a.denominator});
  } else {
    unit_root(a.numerator, 4 * a.denominator, c, s);
    const double quarter = double(T(c));
    put(c, s / quarter);
    unit_root(3 * a.numerator, 4 * a.denominator, c, s);
    put(c / quarter, s / (quarter * double(T(c / quarter))));
    for (const int r : {0, 2, 1, 3}) rest(layers - 2, {a.numerator + r * a.denominator, 4 * a.denominator});
  }
}

struct Pass {
  int layers;
  int64_t blocks, roots;  // the number of blocks, and the offset of their roots in the table
};

// All passes from the top down, and the layout of the table: the roots of every pass, then of the leaf blocks, then of the lanes.
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
    lanes = round_up(size, kLanes<T>);
    size = lanes + blocks * kOfLanes<T> * 2;
  }
};

constexpr int kTreeTable = 1;  // the key of a table of roots has kind kTreeTable + R
constexpr double kRootNs = 50;

template <class T>
void fill_tree(void* data, const TableKey& key) {
  constexpr int W = kLanes<T>;
  T* const table = static_cast<T*>(data);
  const Length length{key.n, key.kind - kTreeTable};
  const Tree<T> tree(length);
  InterruptCheck check;
  const auto fill = [&](const Pass& pass) {
    for (int64_t b = 0; b < pass.blocks; ++b) {
      check(kRootNs * roots_of(pass.layers));
      fill_roots(pass.layers, angle_of(length, b, pass.blocks), false, table + pass.roots + b * roots_of(pass.layers) * 2, 2, 1);
    }
  };
  fill(tree.first);
  for (int i = 0; i < tree.count; ++i) fill(tree.passes[i]);
  fill(tree.leaf);
  for (int64_t b = 0; b < length.N / W; ++b) {
    check(kRootNs * kOfLanes<T>);
    fill_roots(kLeafLayers<T>, angle_of(length, b, length.N / W), true, table + tree.lanes + b / W * kOfLanes<T> * 2 * W + b % W, 2 * W, W);
  }
}

}  // namespace fft
}  // namespace QF_ISA
}  // namespace quatrefoil
