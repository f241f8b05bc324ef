// The ABI between bind.cpp and the kernels. Coordinates are centred on the boundary's box and divided by its extent ("scaled").
#pragma once
#include <cstdint>
#include <type_traits>

namespace quatrefoil::wos {

// A boundary value or source. A callback takes absolute coordinates, (n, d) doubles, and writes n doubles; the others have `width` numbers
// an instance, `stride` apart (0: shared).
enum class DataKind : int { none, number, fourier, per_vertex, gaussians, callback };
struct Data {
  DataKind kind = DataKind::none;
  const double* numbers =
      nullptr;  // number: c | fourier: centre, a0, a1, b1, ... | gaussians: (amplitude, centre, 1/width^2)... | per_vertex: pairs
  std::int64_t width = 0, stride = 0;
  void (*callback)(void* context, std::int64_t instance, std::int64_t n, const double* x, double* out) = nullptr;
  void* context = nullptr;
};

// The quadtree of one polygon, flattened: README section 3. Owned by the binding, filled by build_grids, freed by free_grid.
template <class T>
struct Grid {
  using Int = typename std::conditional<sizeof(T) == 4, std::int32_t, std::int64_t>::type;
  T* records = nullptr;  // (M + 1, 8): ax, ay, ex, ey, 1/|e|^2, 0, 0, 0; the last lies far away from everything
  Int* cells = nullptr;  // (2^level, 2^level): a bound and its node's size, or the sign bit and an index into `lists`
  Int* lists = nullptr;  // at every index: how many, then the segments
  std::int64_t M = 0, listed = 0, capacity = 0;
  int level = 0;
};

struct Segments {
  const double* ends;  // (M, 4): ax, ay, bx, by
  std::int64_t M;
};

template <class T>
struct Walk {
  const Grid<T>* grids;               // (B,), or null: the unit ball of `dimension`
  const std::int64_t* first_segment;  // (B,): where an instance's pairs of per_vertex begin
  const T* start;                     // (B, N, dimension)
  const std::uint8_t* live;           // (B, N): 0 where no walk starts
  const double* epsilon;              // (B,) scaled
  const double* centre;               // (B, dimension)
  const double* extent;               // (B,)
  double* values;                     // (B, N, walks)
  std::uint32_t* steps;               // (B, N, walks): steps; the sign bit marks a walk cut off at max_steps, the next one an escaped one
  double* ends;                       // (B, N, walks, dimension + 1) absolute end and place on the segment, or null
  std::int64_t* primitives;           // (B, N, walks), or null
  std::int64_t B, N, walks, first_walk, first_instance, max_steps;
  std::uint32_t key0, key1;
  Data dirichlet, source;
  int dimension, threads;
};

// values, steps (rows, walks) -> the dyadic nodes of [first_walk, first_walk + walks), and the counts.
struct Reduce {
  const double* values;
  const std::uint32_t* steps;
  const std::uint8_t* live;  // (rows,)
  std::int64_t rows, walks, first_walk, nodes;
  double *mean, *m2;                                // (rows, nodes)
  std::int64_t *total_steps, *truncated, *escaped;  // (rows,): added to
  int threads;
};

struct Locate {
  Segments segments;
  const double* points;  // (N, 2)
  std::int64_t N;
  std::uint8_t* inside;                // (N,)
  double *distance, *closest, *place;  // (N,), (N, 2), (N,), each may be null
  std::int64_t* primitive;             // may be null
  int threads;
};

template <class T>
struct Kernels {
  void (*build_grids)(const Segments* segments, const std::int64_t* levels, Grid<T>* const* grids, std::int64_t n, int threads);
  void (*free_grid)(Grid<T>&);
  void (*walk)(const Walk<T>&);
  void (*bounds)(const Grid<T>&, const T* points, std::int64_t n, T* radius,
                 std::int64_t* primitive);  // what a walk sees; primitive -1: a bound
};

struct Table {
  Kernels<float> f32;
  Kernels<double> f64;
  void (*reduce)(const Reduce&);
  void (*locate)(const Locate&);
  void (*philox)(const std::uint32_t* counters, std::int64_t n, std::uint32_t key0, std::uint32_t key1, std::uint32_t* words);  // (n, 4)
};

}  // namespace quatrefoil::wos
