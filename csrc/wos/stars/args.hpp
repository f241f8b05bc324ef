// Walks on stars: part of the boundary reflects. Coordinates are centred on the boundary's box and divided by its extent ("scaled").
#pragma once
#include <cstdint>

#include "core/abi/table.hpp"
#include "wos/data/args.hpp"
#include "wos/walk/args.hpp"

namespace quatrefoil::wos::stars {

// The corners of a wall, with the domain to the left of a segment and behind a triangle whose corners go round to the left; mu in absolute
// units, 0 or 1: whose flux it has.
template <int D>
constexpr int kWallNumbers = D * D + 2;
// A corner, in space the ends of an edge, and the inner normals of the two walls that meet there.
template <int D>
constexpr int kCornerNumbers = D * (D + 1);

// The reflecting part of one boundary: walls in the order of their rings, in space of a curve through it, and the corners or edges that may
// hide what lies behind them.
struct Reflecting {
  const double *walls, *corners;
  std::int64_t M, K;
};

// The boundary data of an instance that the walks meet.
enum Met { on_boundary, in_domain, on_neumann, on_robin, kMet };

template <class T>
struct Stars {
  walk::Walk<T> walk;            // its grids or mesh are those of the absorbing part
  const Reflecting* reflecting;  // (B,)
  data::Data neumann, robin;     // what flows in: h
  bool endless;                  // there is no absorbing part: the grids are of a segment or triangle far away

  const data::Data& data(int met) const {
    return met == on_boundary ? walk.dirichlet : met == in_domain ? walk.source : met == on_neumann ? neumann : robin;
  }
};

template <class T>
struct StarsAdjoint {
  Stars<T> forward;       // mean, m2 and counts are not used
  const double* grad;     // (B, N, nodes, channels) of mean
  double* numbers[kMet];  // the gradients in the numbers of the data; added to; null where there are none
};

template <class T>
struct Kernels {
  void (*stars)(const Stars<T>&);
  void (*stars_adjoint)(const StarsAdjoint<T>&);
};
using Table = TableOf<Kernels>;

}  // namespace quatrefoil::wos::stars
