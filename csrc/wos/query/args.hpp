// Queries at individual points: distance and closest point of the boundary, and inside or outside.
#pragma once
#include <cstdint>

#include "core/abi/table.hpp"
#include "wos/mesh/args.hpp"
#include "wos/polygon/args.hpp"
#include "wos/solid/args.hpp"

namespace quatrefoil::wos::query {

// N points for each of B boundaries: polygons, a mesh, or a solid.
template <class T>
struct Query {
  const T* points;                    // (B, N, dimension), or (N, dimension) for all instances
  const double* frame;                // (B, dimension + 1): the box's centre and extent
  const polygon::Segments* segments;  // (B,), or null
  const mesh::Tree<T>* tree;          // or null; only with B = 1
  solid::Solid solid;                 // shared by all instances
  std::int64_t B, N;
  bool shared;  // all instances share the points
  bool closed;  // the mesh is closed
  bool sign;    // distances are negative inside
  int dimension, threads;
  T *distance, *point, *weights;       // (B, N), (B, N, dimension) twice; the last two may be null
  std::int64_t *primitive, *contains;  // (B, N); may be null
};

template <class T>
struct Kernels {
  void (*nearest)(const Query<T>&);
  void (*inside)(const Query<T>&);
};
using Table = TableOf<Kernels>;

}  // namespace quatrefoil::wos::query
