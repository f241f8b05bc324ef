// Polygons in scaled coordinates, and the grid of distances to their boundary.
#pragma once
#include <cstdint>
#include <type_traits>

#include "core/abi/table.hpp"

namespace quatrefoil::wos::polygon {

// The quadtree of one polygon, flattened (README, The grid). Owned by the binding, filled by build_grids, freed by free_grid.
template <class T>
struct Grid {
  using Int = typename std::conditional<sizeof(T) == 4, std::int32_t, std::int64_t>::type;
  T* records = nullptr;  // (M + 1, 8): ax, ay, ex, ey, 1/|e|^2, three clearances (4); the last record is far away
  Int* cells = nullptr;  // (2^level, 2^level): a bound and its node's size, or the sign bit and an index into `lists`
  Int* lists = nullptr;  // each list: the number of segments, then the segments
  std::int64_t M = 0, listed = 0, capacity = 0;
  int level = 0;
  T clear = 0;  // mean clearance, weighted by length; 0 if not measured
};

struct Segments {
  const double* ends;  // (M, 4): ax, ay, bx, by
  std::int64_t M;
  bool closed = true;  // true: rings, whose outside needs no grid; false: any segments
};

template <class T>
struct Kernels {
  void (*build_grids)(const Segments* segments, const std::int64_t* levels, Grid<T>* const* grids, std::int64_t n, int threads);
  void (*free_grid)(Grid<T>&);
  // Distances at points, as walks use them. If primitive is -1, `radius` is a bound.
  void (*bounds)(const Grid<T>&, const T* points, std::int64_t n, T* radius, std::int64_t* primitive);
};
using Table = TableOf<Kernels>;

}  // namespace quatrefoil::wos::polygon
