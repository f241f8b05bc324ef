// Walks and the sums over them. Coordinates are centred on the boundary's box and divided by its extent ("scaled").
#pragma once
#include <cstdint>

#include "core/abi/table.hpp"
#include "core/lanes/hd.hpp"
#include "wos/data/args.hpp"
#include "wos/mesh/args.hpp"
#include "wos/polygon/args.hpp"
#include "wos/solid/args.hpp"

namespace quatrefoil::wos::walk {

// README (5): the size of the largest aligned block, a power of two, that starts at `at` and ends at or before `end`.
QF_HD constexpr std::int64_t node_size(std::int64_t at, std::int64_t end) {
  std::int64_t size = 1;
  while ((at & (2 * size - 1)) == 0 && at + 2 * size <= end) size *= 2;
  return size;
}
QF_HD constexpr std::int64_t node_count(std::int64_t first, std::int64_t walks) {
  std::int64_t nodes = 0;
  for (std::int64_t at = first; at < first + walks; at += node_size(at, first + walks)) ++nodes;
  return nodes;
}

// The node that contains a sample: its index and size.
struct NodeOf {
  std::int64_t index, size;
};
QF_HD constexpr NodeOf node_of(std::int64_t sample, std::int64_t first, std::int64_t end) {
  std::int64_t at = first, node = 0, size = node_size(at, end);
  for (; at + size <= sample; size = node_size(at, end)) at += size, ++node;
  return {node, size};
}

// The number of harmonics of degrees 0 to `modes` on the unit sphere.
QF_HD constexpr std::int64_t harmonics(int dimension, std::int64_t modes) {
  return dimension == 2 ? 2 * modes + 1 : (modes + 1) * (modes + 1);
}

// The boundary's arrays as passed by the caller: used on a GPU instead of grids, a mesh and a solid. Their values are unchecked.
struct BoundaryArrays {
  const double* ends = nullptr;         // (count, width): segments, triangles, or one row of a solid; null for the unit ball
  const std::int64_t* first = nullptr;  // (polygons + 1,)
  std::int64_t count = 0, width = 0, polygons = 0;
  bool solid = false;
};

// The kinds of data that walks evaluate. The last two are the fluxes h on reflecting walls.
enum { on_boundary, in_domain, on_neumann, on_robin, kMet };

// B instances of N points with `dimension` coordinates, and walks of all `nrhs` right-hand sides: one per instance, or any number if B = 1.
struct Walks {
  solid::Solid solid;   // shared by all instances
  bool outside;         // the domain is outside the boundary
  const double* frame;  // (B, dimension + 2): the box's centre and extent, epsilon in units of the extent
  data::Data dirichlet, source;
  std::int64_t B, N, walks, first_instance, first_point, first_walk, max_steps;  // first_*: global indices
  double screening;                                                              // lambda
  std::uint32_t key0, key1;
  int dimension, threads;
  bool gradient;         // walks come in antithetic pairs; nodes are computed from pairs
  bool sobol;            // the words of first steps are points of the Sobol' sequence
  double *mean, *m2;     // (B, nrhs, N, nodes, channels): the nodes of walks [first_walk, first_walk + walks)
  std::int64_t* counts;  // (B, nrhs, N, 3): steps; walks cut off at max_steps; walks that left the box by rounding
  BoundaryArrays boundary;
  double reach = 0;  // outside without screening: beyond this distance from the centre, in absolute units, sources are 0
  std::int64_t nrhs = 1, first_data = 0;  // right-hand sides per instance; global index of the first row of data
  data::Data neumann, robin;              // none without reflecting walls

  const data::Data& data(int met) const {
    return met == on_boundary ? dirichlet : met == in_domain ? source : met == on_neumann ? neumann : robin;
  }
  QF_HD std::int64_t sides() const { return B * nrhs; }
  QF_HD std::int64_t instance_of(std::int64_t side) const { return nrhs == 1 ? side : 0; }  // nrhs > 1 only with B = 1
  QF_HD int group() const { return gradient ? 2 : 1; }                                      // walks per sample
  QF_HD int channels() const { return gradient ? 1 + dimension : 1; }  // of a sample: the value and the gradient's components
  QF_HD std::int64_t nodes() const { return node_count(first_walk / group(), walks / group()); }
};
template <class T>
struct Walk : Walks {
  const polygon::Grid<T>* grids;  // (B,), or null: the mesh, or the solid if there is no mesh
  mesh::Grid<T>* mesh;            // shared by all instances; filled by walks
  const T* start;                 // (B, N, dimension); NaN if no walk starts there
};

template <class T>
struct WalkAdjoint {
  Walk<T> forward;               // mean, m2 and counts are unused
  const double* grad;            // (B, nrhs, N, nodes, channels), the gradient of mean
  double *ddirichlet, *dsource;  // laid out like the data's parameters; accumulated; null if absent
};

// The ends and source points of one instance's walks, for data that become available later. README, Operators.
template <class T>
struct Trace {
  Walk<T> forward;        // its source may have any kind; mean, m2 and counts are unused
  double *exit, *weight;  // (N, walks, dimension) scaled, (N, walks)
  std::int64_t* counts;   // (N, walks, 3), like the counts of Walk
  double *point, *share;  // (events, dimension) scaled, (events,) |G| of (8): walk by walk, one per step; 0 after the last
  std::int64_t events;    // room for source points; further ones are dropped. If 0, walks run only once.
};

// The points where one instance's walks evaluate data, from walks that collect them in lists. README, Operators.
struct Recording {
  double *exit, *weight;          // (N, walks, dimension) scaled, (N, walks): ends; a walk without an end is at its start with weight 0
  std::int64_t *counts, *beyond;  // (N, walks, 3), like the counts of Walk; (N, walks): jumps beyond a medium's bound
  std::int64_t* met;              // (N, walks, kMet - 1): the numbers of source points and of points on both kinds of walls
  double *point, *share;          // (events, dimension) scaled, (events,): these points and their weights, kind by kind, walk by walk
  std::int64_t events;            // room for points; further ones are dropped. If 0, walks run only once.
};

// The means of u times the harmonics of the walks' first directions, for pairs of walks from balls' centres: README, Harmonic caching.
template <class T>
struct Expand {
  Walk<T> forward;              // the walks of a gradient; mean and m2 are unused
  std::int64_t samples, modes;  // forward.walks covers `samples` samples; degrees 0 to `modes`
  const double* reference;      // (B, N): an estimate of u on the sphere, which reduces the variance
  double* coefficients;         // (B, N, samples, harmonics(dimension, modes)) of the values on the sphere
};

// Evaluates the coefficients of Expand at points inside balls.
struct Gather {
  const double* coefficients;        // (balls, samples, harmonics(dimension, modes))
  const double* z2;                  // (balls,) squared radius times the screening
  const std::int64_t *begin, *ball;  // (N + 1,), (begin[N],): the balls that contain each point
  const double *offset, *weight;     // (begin[N], dimension) offset from the ball's centre in units of its radius; (begin[N],)
  double* values;                    // (N, samples)
  std::int64_t N, samples, modes;
  int dimension, threads;
};

// The first balls of pairs.
template <class T>
struct Balls {
  Walk<T> forward;
  double* radius;  // (B, N), scaled
};

// The starts of walks: points in the frame of their boundary.
template <class T>
struct WalkStarts {
  const T* points;                    // (B, N, dimension), or (N, dimension) for all instances
  const double* frame;                // as above
  const polygon::Segments* segments;  // (B,), or null: the mesh, or the solid if there is no mesh
  const mesh::Tree<T>* mesh;          // shared by all instances
  solid::Solid solid;                 // shared by all instances
  bool outside;                       // the domain is outside the boundary
  bool closed;                        // the mesh is closed
  T* start;                           // (B, N, dimension); NaN outside the domain; the closest boundary point within epsilon
  std::int64_t B, N;
  bool shared;  // all instances share the points
  int dimension, threads;
};

template <class T>
struct Kernels {
  void (*walk)(const Walk<T>&);
  void (*walk_adjoint)(const WalkAdjoint<T>&);
  void (*trace)(const Trace<T>&);
  void (*expand)(const Expand<T>&);
  void (*balls)(const Balls<T>&);
  std::int64_t (*place)(const WalkStarts<T>&);  // returns the index of the first coordinate of a point that is not finite, or -1
};
struct Table : TableOf<Kernels> {
  void (*gather)(const Gather&);
};

}  // namespace quatrefoil::wos::walk
