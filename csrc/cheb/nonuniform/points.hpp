// Positions of points on the grid, sorted by tiles, and the weights of the taps.
#pragma once
#include "cheb/nonuniform/grid.hpp"
#include "cheb/scattered/layout.hpp"
#include "core/run/parallel.hpp"

namespace quatrefoil::cheb::nonuniform {
inline namespace QF_ISA {

constexpr int64_t kBatch = int64_t(1) << 17;  // points that are sorted together, in 5 MB
constexpr double kLocateNs = 8;               // per coordinate

// Up to kBatch points of a call, sorted by the tiles in which their taps begin, in input order within a tile.
template <class T>
class Batch {
 public:
  Batch(const Setting<T>& at, const GridShape& grid)
      : at_(at), grid_(grid), position_(at.d * batch_size()), tile_(batch_size()), order_(batch_size()), start_(grid.tile_count() + 1) {
    for (int k = 0; k < at.d; ++k) intervals_[k] = scattered::interval(at.lo[k], at.hi[k], scattered::kEps<T>, false);
  }

  // Loads points first, ..., first + count - 1. Returns the index within X of the first invalid coordinate, or -1.
  int64_t take(int64_t first, int64_t count) {
    using V = Lanes<double>;
    constexpr int W = kWidth<V>;
    first_ = first;
    int64_t bad = -1;
    parallel_for((count + W - 1) / W, at_.threads, at_.d * W * kLocateNs, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * W; i < min(end * W, count); i += W) {
        int64_t key[W] = {};
        for (int k = 0; k < at_.d; ++k) {
          const int axis = k + kGridAxes - at_.d;
          V t{};
          for (int j = 0; j < W && i + j < count; ++j) t[j] = double(at_.X[(first + i + j) * at_.d + k]);
          for (int j = 1; j < W; ++j)
            if (i + j >= count) t[j] = t[0];
          t = scattered::to_reference(t, intervals_[k]);
          const V far = V{} + intervals_[k].far;
          const auto valid = (t <= far) & (t >= -far);
          const V s = nonuniform::position(V(lower(higher(t, V{} - 1), V{} + 1)), double(grid_.H[axis]));
          for (int j = 0; j < W && i + j < count; ++j) {
            if (!valid[j]) note_first(bad, (first + i + j) * at_.d + k);
            position_[(i + j) * at_.d + k] = s[j];
            key[j] = key[j] * grid_.tiles[axis] + first_tap(s[j]) / kTile;
          }
        }
        for (int j = 0; j < W && i + j < count; ++j) tile_[i + j] = std::int32_t(key[j]);
      }
    });
    sort(count);
    return bad;
  }

  const std::int32_t* order() const { return order_; }
  const int64_t* start() const { return start_; }  // first point of every tile, and the end of the last
  const double* position(int64_t i) const { return position_ + i * at_.d; }
  int64_t first() const { return first_; }
  // The first grid point, ghosts included, that a point at s touches.
  int64_t first_tap(double s) const { return int64_t(__builtin_ceil(s - 0.5 * grid_.taps)) + kGhosts; }

 private:
  int64_t batch_size() const { return min(kBatch, at_.P); }
  void sort(int64_t count) {
    const int64_t tiles = grid_.tile_count();
    set_zero<int64_t>(start_, tiles + 1);
    for (int64_t i = 0; i < count; ++i) ++start_[tile_[i] + 1];
    for (int64_t i = 0; i < tiles; ++i) start_[i + 1] += start_[i];
    for (int64_t i = 0; i < count; ++i) order_[start_[tile_[i]]++] = std::int32_t(i);
    for (int64_t i = tiles; i > 0; --i) start_[i] = start_[i - 1];
    start_[0] = 0;
  }

  const Setting<T>& at_;
  const GridShape& grid_;
  scattered::Interval intervals_[kGridAxes];
  Scratch<double> position_;
  Scratch<std::int32_t> tile_, order_;
  Scratch<int64_t> start_;
  int64_t first_ = 0;
};

// The weights of one point's taps (scalars on the leading axes, vectors on the last) and their first grid points.
template <class T, int vectors>
struct Taps {
  using V = Lanes<T>;
  alignas(64) T weight[kGridAxes - 1][vectors * kLanes<T>];
  V last[vectors] = {};
  int64_t at[kGridAxes];

  QF_HD Taps(const Batch<T>& batch, const GridShape& grid, int d, const double* s) {
    const T scale = T(2) / T(grid.taps), beta = T(window_beta(grid.taps));
    for (int k = 0; k < kGridAxes; ++k) {
      const int axis = k - (kGridAxes - d);
      if (axis < 0) {
        at[k] = 0;
        if (k < kGridAxes - 1) weight[k][0] = 1;
        continue;
      }
      at[k] = batch.first_tap(s[axis]);
      const T to_first = T(s[axis] - double(at[k] - kGhosts));
      for (int v = 0; v < vectors; ++v) {
        V z{};
        for (int j = 0; j < kLanes<T>; ++j) z[j] = T(v * kLanes<T> + j);
        const V w = window(V((to_first - z) * scale), beta);
        if (k < kGridAxes - 1)
          store(weight[k] + v * kLanes<T>, w);
        else
          last[v] = w;
      }
    }
  }
};

// Calls f with the number of vectors for the taps of an axis, as a compile-time constant.
template <class T, class F>
void with_vectors(int taps, F&& f) {
  constexpr int W = kLanes<T>, half = kMaxTaps / 2;
  if (taps <= half)
    f(std::integral_constant<int, max(1, half / W)>{});
  else
    f(std::integral_constant<int, max(1, kMaxTaps / W)>{});
}

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::nonuniform
