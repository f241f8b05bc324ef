// Walks in which diffusion and screening vary in space. Coordinates are "scaled": centred on the boundary's box, divided by its extent.
#pragma once
#include <cstdint>

#include "core/abi/table.hpp"
#include "wos/data/args.hpp"
#include "wos/walk/args.hpp"

namespace quatrefoil::wos::media {

// values per instance: the bound on |sigma'| and the finite difference step of a function, both in absolute units
constexpr int kBounds = 2;

template <class T>
struct Media {
  walk::Walk<T> walk;               // without a constant screening
  data::Data diffusion, screening;  // 1 and 0 if absent. A grid of alpha has further tables after its values, README (3)
  const double* bounds;             // (B, kBounds)
  const double* slopes;             // (B, N, dimension): grad alpha / (2 alpha) at the starts, in absolute units; null without pairs
  std::int64_t* beyond;             // (B, nrhs, N): jumps to points where |sigma'| exceeds the bound
};

template <class T>
struct MediaAdjoint {
  Media<T> forward;             // mean, m2, counts and beyond are unused
  const double* grad;           // (B, nrhs, N, nodes, channels), the gradient of mean
  double* numbers[walk::kMet];  // gradients with respect to the data's parameters, accumulated; null if not requested
};

template <class T>
struct MediaTrace {
  Media<T> forward;  // one instance; the kinds of its data select the points, but values are not evaluated
  walk::Recording to;
};

template <class T>
struct Kernels {
  void (*media)(const Media<T>&);
  void (*media_adjoint)(const MediaAdjoint<T>&);
  void (*media_trace)(const MediaTrace<T>&);
};
using Table = TableOf<Kernels>;

}  // namespace quatrefoil::wos::media
