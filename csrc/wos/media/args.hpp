// Walks where the diffusion and the screening vary in space. Coordinates are centred on the boundary's box and divided by its extent
// ("scaled").
#pragma once
#include <cstdint>

#include "core/abi/table.hpp"
#include "wos/data/args.hpp"
#include "wos/walk/args.hpp"

namespace quatrefoil::wos::media {

constexpr int kBounds = 2;  // numbers per instance: the bound of |sigma'| and the step of a function's differences, both absolute

template <class T>
struct Media {
  walk::Walk<T> walk;               // without a screening of its own
  data::Data diffusion, screening;  // none: 1 and 0. The row of a diffusion's grid: the values of alpha, then those of README (3)
  const double* bounds;             // (B, kBounds)
  const double* slopes;             // (B, N, dimension): grad alpha / (2 alpha) where walks start, absolute; null without pairs
  std::int64_t* beyond;             // (B, N): jumps to points where |sigma'| was larger than the bound
};

template <class T>
struct MediaAdjoint {
  Media<T> forward;              // mean, m2, counts and beyond are not used
  const double* grad;            // (B, N, nodes, 1) of mean
  double *ddirichlet, *dsource;  // gradients in the numbers of the data, added to; null if not wanted
};

template <class T>
struct Kernels {
  void (*media)(const Media<T>&);
  void (*media_adjoint)(const MediaAdjoint<T>&);
};
using Table = TableOf<Kernels>;

}  // namespace quatrefoil::wos::media
