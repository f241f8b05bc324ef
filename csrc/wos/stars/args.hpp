// Walks on stars: part of the boundary reflects. Coordinates are centred on the boundary's box and divided by its extent ("scaled").
#pragma once
#include <cstdint>

#include "core/abi/table.hpp"
#include "wos/data/args.hpp"
#include "wos/walk/args.hpp"

namespace quatrefoil::wos::stars {

// The corners of a wall, with the domain to the left of a segment, or behind a triangle whose corners go round counter-clockwise; mu in
// absolute units; 1 for a Robin wall, else 0.
template <int D>
constexpr int kWallNumbers = D * D + 2;
// A corner, or in space the ends of an edge, and the inner normals of the two walls that meet there.
template <int D>
constexpr int kCornerNumbers = D * (D + 1);

// The reflecting part of one boundary: walls in the order of their rings, in space of a space-filling curve, and the corners or edges that
// may hide other walls.
struct Reflecting {
  const double *walls, *corners;
  std::int64_t M, K;
};

// The data that walks meet.
enum Met { on_boundary, in_domain, on_neumann, on_robin, kMet };

template <class T>
struct Stars {
  walk::Walk<T> walk;            // its grids or mesh are those of the absorbing part
  const Reflecting* reflecting;  // (B,)
  data::Data neumann, robin;     // the flux h
  bool endless;                  // no part absorbs: the grids are of a segment or triangle far away

  const data::Data& data(int met) const {
    return met == on_boundary ? walk.dirichlet : met == in_domain ? walk.source : met == on_neumann ? neumann : robin;
  }
};

template <class T>
struct StarsAdjoint {
  Stars<T> forward;       // mean, m2 and counts are not used
  const double* grad;     // (B, N, nodes, channels) of mean
  double* numbers[kMet];  // gradients in the numbers of the data, added to; null if not wanted
};

template <class T>
struct Kernels {
  void (*stars)(const Stars<T>&);
  void (*stars_adjoint)(const StarsAdjoint<T>&);
};
using Table = TableOf<Kernels>;

}  // namespace quatrefoil::wos::stars
