// Interpolation from the grid to points, and its transpose, spreading.
#pragma once
#include "cheb/nonuniform/points.hpp"

namespace quatrefoil::cheb::nonuniform {
inline namespace QF_ISA {

template <class T>
double point_ns(const GridShape& g) {
  return 60 + double(g.reach[0] * g.reach[1]) * (g.taps > kMaxTaps / 2 ? 2 : 1) * max(1.0, 8.0 / kLanes<T>) * 0.7;
}

// README (5): computes one value from the grid. Reads a few vectors of each of taps^2 rows.
template <class T, int vectors>
QF_HD T interpolate_one(const GridShape& g, const T* values, const Taps<T, vectors>& taps) {
  using V = Lanes<T>;
  V total[vectors] = {};
  for (int64_t i = 0; i < g.reach[0]; ++i) {
    const T* row = values + ((taps.at[0] + i) * g.size[1] + taps.at[1]) * g.size[2] + taps.at[2];
    V part[vectors] = {};
    for (int64_t j = 0; j < g.reach[1]; ++j, row += g.size[2])
      for (int v = 0; v < vectors; ++v) part[v] += load<V>(row + v * kLanes<T>) * taps.weight[1][j];
    for (int v = 0; v < vectors; ++v) total[v] += part[v] * taps.weight[0][i];
  }
  V product = total[0] * taps.last[0];
  for (int v = 1; v < vectors; ++v) product += total[v] * taps.last[v];
  return sum(product);
}

// README (5). Points are processed in batches, sorted by tiles, so that neighbours read the same part of the grid.
template <class T>
int64_t interpolate(const Setting<T>& at, const GridShape& g, const T* values, T* f) {
  Batch<T> batch(at, g);
  for (int64_t first = 0; first < at.P; first += kBatch) {
    const int64_t count = min(kBatch, at.P - first), bad = batch.take(first, count);
    if (bad >= 0) return bad;
    with_vectors<T>(g.taps, [&](auto constant) {
      constexpr int vectors = decltype(constant)::value;
      parallel_for(count, at.threads, point_ns<T>(g), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t p = batch.order()[i];
          f[first + p] = interpolate_one<T>(g, values, Taps<T, vectors>(batch, g, at.d, batch.position(p)));
        }
      });
    });
  }
  return -1;
}

// README (6): spreads the weights q of the points in one tile.
template <class T, int vectors>
void spread_tile(const Setting<T>& at, const GridShape& g, const Batch<T>& batch, int64_t tile, const T* q, T* values) {
  using V = Lanes<T>;
  InterruptCheck check;
  for (int64_t i = batch.start()[tile]; i < batch.start()[tile + 1]; ++i, check(point_ns<T>(g))) {
    const int64_t p = batch.order()[i];
    const Taps<T, vectors> taps(batch, g, at.d, batch.position(p));
    const T weight = q[batch.first() + p];
    V last[vectors];
    for (int v = 0; v < vectors; ++v) last[v] = taps.last[v] * weight;
    for (int64_t a = 0; a < g.reach[0]; ++a) {
      T* row = values + ((taps.at[0] + a) * g.size[1] + taps.at[1]) * g.size[2] + taps.at[2];
      for (int64_t b = 0; b < g.reach[1]; ++b, row += g.size[2]) {
        const T w = taps.weight[0][a] * taps.weight[1][b];
        for (int v = 0; v < vectors; ++v) store(row + v * kLanes<T>, load<V>(row + v * kLanes<T>) + last[v] * w);
      }
    }
  }
}

// README (6): spreads the weights q of the batch's points onto the grid, one task per tile. The points of a tile reach at most the next
// tile along each axis, so two tiles of the same colour (of eight) touch no common value. Colours are processed one after another, so every
// value is a sum in a fixed order for any number of threads.
template <class T>
void spread(const Setting<T>& at, const GridShape& g, const Batch<T>& batch, int64_t count, const T* q, T* values) {
  const double ns = double(count) / double(g.tile_count()) * point_ns<T>(g) + 1;
  with_vectors<T>(g.taps, [&](auto constant) {
    constexpr int vectors = decltype(constant)::value;
    static_assert(kTile + vectors * kLanes<T> <= 2 * kTile);
    for (int colour = 0; colour < 8; ++colour) {
      int64_t tiles[kGridAxes];
      for (int k = 0; k < kGridAxes; ++k) tiles[k] = (g.tiles[k] + 1 - (colour >> k & 1)) / 2;
      parallel_for(tiles[0] * tiles[1] * tiles[2], at.threads, ns, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t a = i / tiles[2] / tiles[1] * 2 + (colour & 1), b = i / tiles[2] % tiles[1] * 2 + (colour >> 1 & 1),
                        c = i % tiles[2] * 2 + (colour >> 2 & 1);
          spread_tile<T, vectors>(at, g, batch, (a * g.tiles[1] + b) * g.tiles[2] + c, q, values);
        }
      });
    }
  });
}

template <class T>
int64_t spread_all(const Setting<T>& at, const Grid<T>& g, const T* q) {
  T* const values = g.values();
  const int64_t row = g.size[2];
  parallel_for(g.numbers() / row, at.threads, double(row) * kNumberNs,
               [&](int64_t begin, int64_t end) { set_zero(values + begin * row, (end - begin) * row); });
  Batch<T> batch(at, g);
  for (int64_t first = 0; first < at.P; first += kBatch) {
    const int64_t count = min(kBatch, at.P - first), bad = batch.take(first, count);
    if (bad >= 0) return bad;
    spread(at, g, batch, count, q, values);
  }
  return -1;
}

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::nonuniform
