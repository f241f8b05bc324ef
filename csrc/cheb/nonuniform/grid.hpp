// The grid in arccos t: its shape, and transforms between coefficients and grid values.
#pragma once
#include "cheb/nonuniform/args.hpp"
#include "cheb/nonuniform/formula.hpp"
#include "core/run/parallel.hpp"

namespace quatrefoil::cheb::nonuniform {
inline namespace QF_ISA {

constexpr int64_t kGhosts = kMaxTaps / 2;  // points beyond each end of an axis that taps may touch
constexpr int64_t kMinGrid = 16;           // minimum grid size, so that every ghost is the reflection of a point
constexpr int64_t kTile = 16;              // cells per tile and axis; at least the number of taps, so taps reach at most the next tile
constexpr double kNumberNs = 1;            // per element that is read, scaled and written

// Three axes; missing ones come first and have one point. Values are at psi = pi j / H with cos psi = -t (2), surrounded by ghosts, their
// reflections. Rows are padded because taps are read in full vectors.
struct GridShape {
  int taps;
  int64_t n[kGridAxes], H[kGridAxes], size[kGridAxes];            // coefficients, intervals, points with ghosts
  int64_t tiles[kGridAxes], ghosts[kGridAxes], reach[kGridAxes];  // reach: the number of taps

  GridShape(int d, const int64_t* sizes, double eps) : taps(taps_for(eps)) {
    for (int k = 0; k < kGridAxes; ++k) {
      const int axis = k - (kGridAxes - d);
      if (axis < 0) {
        n[k] = size[k] = tiles[k] = reach[k] = 1, H[k] = ghosts[k] = 0;
      } else {
        n[k] = sizes[axis], H[k] = fast_length(max(kMinGrid, 2 * (n[k] - 1))), ghosts[k] = kGhosts, reach[k] = taps;
        tiles[k] = (H[k] + kGhosts) / kTile + 1;
        size[k] = H[k] + 1 + 2 * kGhosts + (k == kGridAxes - 1 ? kMaxTaps : 0);
      }
    }
  }
  int64_t numbers() const { return size[0] * size[1] * size[2]; }
  int64_t inner() const { return (H[0] + 1) * (H[1] + 1) * (H[2] + 1); }
  int64_t tile_count() const { return tiles[0] * tiles[1] * tiles[2]; }
  // The point that a ghost reflects.
  int64_t reflected(int k, int64_t i) const {
    i -= ghosts[k];
    if (i < 0) i = -i;
    return i > H[k] ? 2 * H[k] - i : i;
  }
};

// (4) Computes 1 / phi^ by the midpoint rule in arcsin z, in which the window is smooth and ends at e^-beta.
inline void window_scales(int taps, int64_t n, int64_t H, double* scale) {
  using V = Lanes<double>;
  constexpr int nodes = 96, W = kWidth<V>;
  static_assert(nodes % W == 0);
  alignas(64) double z[nodes], weight[nodes];
  for (int i = 0; i < nodes; i += W) {
    V s, sine, cosine;
    for (int j = 0; j < W; ++j) s[j] = (i + j + 0.5) / nodes * (kPi / 2);
    elementary::sin_cos(s, sine, cosine);
    store(z + i, sine);
    store(weight + i, V(elementary::exp(V(window_beta(taps) * (cosine - 1))) * cosine * (kPi / 2 / nodes * taps)));
  }
  InterruptCheck check;
  for (int64_t a = 0; a < n; a += W, check(nodes * 10.0)) {
    V degree, total{}, sine, cosine;
    for (int j = 0; j < W; ++j) degree[j] = double(a + j) * (kPi / 2 * taps / double(H));
    for (int i = 0; i < nodes; ++i) {
      elementary::sin_cos(V(degree * z[i]), sine, cosine);
      total += cosine * weight[i];
    }
    for (int j = 0; j < W && a + j < n; ++j) scale[a + j] = 1 / total[j];
  }
}

template <class T>
class Grid : public GridShape {
 public:
  explicit Grid(const Setting<T>& at) : GridShape(at.d, at.n, at.eps), at_(at), values_(numbers()), scales_(n[0] + n[1] + n[2]) {
    scale_[0] = scales_, scale_[1] = scales_ + n[0], scale_[2] = scale_[1] + n[1];
    for (int k = 0; k < kGridAxes; ++k)
      if (H[k] > 0)
        window_scales(taps, n[k], H[k], scale_[k]);
      else
        scale_[k][0] = 1;
  }
  T* values() const { return values_; }

  // README (5): computes the values of coefficients C, including ghosts. Reads C once, and makes three passes over the values.
  void fill(const T* C) const {
    const Scratch<T> inner(this->inner());
    const int64_t rows = H[1] + 1, row = H[2] + 1;
    parallel_for((H[0] + 1) * rows, at_.threads, double(row) * kNumberNs, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t a = i / rows, b = i % rows;
        set_zero(inner + i * row, row);
        if (a >= n[0] || b >= n[1]) continue;
        const T* from = C + (a * n[1] + b) * n[2];
        const double s = scale_[0][a] * scale_[1][b];
        for (int64_t c = 0; c < n[2]; ++c) inner[i * row + c] = T(double(from[c]) * (s * scale_[2][c]));
      }
    });
    for (int64_t a = 0; a < n[0]; ++a) along(inner + a * rows * row, n[1], row, 1, false);
    if (H[1] > 0) along(inner, n[0], rows, row, false);
    if (H[0] > 0) along(inner, 1, H[0] + 1, rows * row, false);
    reflect(inner);
  }

  // README (6), the transpose: computes coefficients from the values spread onto the grid, including its ghosts.
  void gather(T* C) const {
    const Scratch<T> inner(this->inner());
    const int64_t rows = H[1] + 1, row = H[2] + 1;
    fold(inner);
    if (H[0] > 0) along(inner, 1, H[0] + 1, rows * row, true);
    if (H[1] > 0) along(inner, n[0], rows, row, true);
    for (int64_t a = 0; a < n[0]; ++a) along(inner + a * rows * row, n[1], row, 1, true);
    parallel_for(n[0] * n[1], at_.threads, double(n[2]) * kNumberNs, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t a = i / n[1], b = i % n[1];
        const double s = scale_[0][a] * scale_[1][b];
        for (int64_t c = 0; c < n[2]; ++c) C[i * n[2] + c] = T(double(inner[(a * rows + b) * row + c]) * (s * scale_[2][c]));
      }
    });
  }

 private:
  void along(T* x, int64_t before, int64_t count, int64_t after, bool transposed) const {
    at_.transform({x, x, before, count, after, false, transposed, at_.threads});
  }

  void reflect(const T* inner) const {
    const int64_t row = H[2] + 1, width = size[2];
    parallel_for(size[0] * size[1], at_.threads, double(width) * kNumberNs, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const T* from = inner + (reflected(0, i / size[1]) * (H[1] + 1) + reflected(1, i % size[1])) * row;
        T *to = values_ + i * width, *first = to + kGhosts;
        __builtin_memcpy(first, from, std::size_t(row) * sizeof(T));
        for (int64_t g = 1; g <= kGhosts; ++g) first[-g] = from[g], first[H[2] + g] = from[H[2] - g];
        set_zero(first + row + kGhosts, width - row - 2 * kGhosts);
      }
    });
  }

  // The points of axis k, ghosts included, that are copies of point j; at most three.
  int sources(int k, int64_t j, int64_t (&from)[3]) const {
    int count = 0;
    from[count++] = j + ghosts[k];
    if (j > 0 && j <= ghosts[k]) from[count++] = ghosts[k] - j;
    if (j < H[k] && H[k] - j <= ghosts[k]) from[count++] = ghosts[k] + 2 * H[k] - j;
    return count;
  }

  void fold(T* inner) const {
    const int64_t rows = H[1] + 1, row = H[2] + 1, width = size[2];
    parallel_for((H[0] + 1) * rows, at_.threads, double(row) * kNumberNs, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        int64_t a[3], b[3];
        const int as = sources(0, i / rows, a), bs = sources(1, i % rows, b);
        T* const to = inner + i * row;
        set_zero(to, row);
        for (int p = 0; p < as; ++p)
          for (int q = 0; q < bs; ++q) {
            const T* from = values_ + (a[p] * size[1] + b[q]) * width + kGhosts;
            for (int64_t c = 0; c < row; ++c) to[c] += from[c];
            for (int64_t g = 1; g <= kGhosts; ++g) to[g] += from[-g], to[H[2] - g] += from[H[2] + g];
          }
      }
    });
  }

  Setting<T> at_;
  Scratch<T> values_;
  Scratch<double> scales_;
  double* scale_[kGridAxes];
};

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::nonuniform
