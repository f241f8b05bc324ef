// Walks on stars: part of the boundary reflects. Coordinates are centred on the boundary's box and divided by its extent ("scaled").
#pragma once
#include <cstdint>

#include "core/abi/table.hpp"
#include "wos/data/args.hpp"
#include "wos/media/args.hpp"
#include "wos/walk/args.hpp"

namespace quatrefoil::wos::stars {

// Fields of a wall: its corners, mu in absolute units, and 1 for a Robin wall or 0 otherwise. The domain is to the left of a segment, or
// on the inner side of a triangle whose corners are counter-clockwise from outside.
template <int D>
constexpr int kWallNumbers = D * D + 2;
// Fields of a corner: its position (in space, the ends of an edge), and the inward normals of the two walls that meet there.
template <int D>
constexpr int kCornerNumbers = D * (D + 1);

// A boundary's reflecting part: walls in ring order (in space, along a space-filling curve), and corners or edges that may hide walls.
struct Reflecting {
  const double *walls, *corners;
  std::int64_t M, K;
  // In a medium, a bound on |nu_0| and the constant part of nu_0 per wall, README (12), in absolute units; otherwise null.
  const double* exchange;
};

using walk::in_domain;
using walk::kMet;
using walk::on_boundary;
using walk::on_neumann;
using walk::on_robin;

template <class T>
struct Stars {
  walk::Walk<T> walk;             // its grids or mesh contain the absorbing part only
  const Reflecting* reflecting;   // (B,)
  bool endless;                   // nothing absorbs: the grids have a single segment or triangle far away
  const media::Media<T>* medium;  // for the same `walk`; null if the diffusion and the screening are constant
};

template <class T>
struct StarsAdjoint {
  Stars<T> forward;       // mean, m2 and counts are unused
  const double* grad;     // (B, nrhs, N, nodes, channels), the gradient of mean
  double* numbers[kMet];  // gradients with respect to the data's parameters, accumulated; null if not requested
};

template <class T>
struct StarsTrace {
  Stars<T> forward;  // one instance; the kinds of its data select the points, but values are not evaluated
  walk::Recording to;
};

template <class T>
struct Kernels {
  void (*stars)(const Stars<T>&);
  void (*stars_adjoint)(const StarsAdjoint<T>&);
  void (*stars_trace)(const StarsTrace<T>&);
};
using Table = TableOf<Kernels>;

}  // namespace quatrefoil::wos::stars
