// The ABI between bind.cpp and the kernels: pointers and sizes of C-contiguous arrays.
#pragma once
#include <cstdint>

#include "cheb/scattered/args.hpp"
#include "cheb/transform/args.hpp"
#include "core/abi/table.hpp"

namespace quatrefoil::cheb::nonuniform {

using scattered::kMaxAxes;
constexpr int kGridAxes = 3;  // with more axes, contraction is used

// Points, the shape of the coefficients, and the accuracy.
template <class T>
struct Setting {
  int d;
  std::int64_t n[kMaxAxes];
  double lo[kMaxAxes], hi[kMaxAxes];  // the domain
  const T* X;                         // (P, d)
  std::int64_t P;
  double eps;  // relative l2 error of the results; 0: only rounding errors
  bool grid;   // always use the grid; d <= kGridAxes
  int threads;
  void (*transform)(const transform::Transform<T>&);  // converts between coefficients and values on Chebyshev points
};

template <class T>
struct Values {
  Setting<T> at;
  const T* C;        // (n_1, ..., n_d)
  T* f;              // (P,)
  const void* grid;  // the result of `make_grid` for C, n and eps, or null
};

template <class T>
struct ValuesAdjoint {
  Values<T> forward;  // f and grid unused
  const T* grad;      // (P,)
  T *dC, *dX;
};

template <class T>
struct Moments {
  Setting<T> at;
  const T* q;  // (P,)
  T* M;        // (n_1, ..., n_d)
};

template <class T>
struct MomentsAdjoint {
  Moments<T> forward;  // M unused
  const T* grad;       // (n_1, ..., n_d)
  T *dX, *dq;
};

// Kernels return -1 or, if the outputs are invalid, the index within X of the first coordinate that is NaN or outside the domain.
template <class T>
struct Kernels {
  std::int64_t (*values)(const Values<T>&);
  std::int64_t (*values_adjoint)(const ValuesAdjoint<T>&);
  std::int64_t (*moments)(const Moments<T>&);
  std::int64_t (*moments_adjoint)(const MomentsAdjoint<T>&);
  void* (*make_grid)(const Values<T>&);  // X and f unused
  void (*discard)(void* grid);
};

using Table = TableOf<Kernels>;

}  // namespace quatrefoil::cheb::nonuniform
