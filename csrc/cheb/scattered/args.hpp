// The ABI between bind.cpp and the kernels: pointers, sizes. All arrays are C-contiguous.
#pragma once
#include <cstdint>

#include "core/abi/table.hpp"

namespace quatrefoil::cheb::scattered {

constexpr int kMaxAxes = 16;  // as many as a View has

template <class T>
struct TuckerEval {
  int d;
  const T* core;               // (r_1, ..., r_d)
  const T* factors[kMaxAxes];  // (n_k, r_k)
  std::int64_t n[kMaxAxes], r[kMaxAxes];
  const T* X;  // (P, d)
  T* f;        // (P,)
  std::int64_t P;
  double lo[kMaxAxes], hi[kMaxAxes];
  bool dense;        // no factors: their columns are the Chebyshev polynomials themselves, the core is the coefficients, r is n
  bool extrapolate;  // points outside the domain are taken too
  int threads;
  const void* packed;  // core and factors as `pack` has laid them out, which are then not read; null: the kernel does it itself
};

template <class T>
struct TuckerEvalAdjoint {
  TuckerEval<T> forward;  // f unused
  const T* grad;          // (P,)
  T* dcore;
  T* dfactors[kMaxAxes];
  T* dX;  // (P, d)
};

// f in `value`, and as asked its derivatives.
template <class T>
struct TuckerDerivatives {
  TuckerEval<T> value;
  T* gradient;  // (P, d), or null
  T* hessian;   // (P, d, d), or null; asked for with the gradient only
};

template <class T>
struct TuckerDerivativesAdjoint {
  TuckerEvalAdjoint<T> value;  // grad: of f
  const T* grad_gradient;      // (P, d), or null
  const T* grad_hessian;       // (P, d, d), or null
};

// A kernel returns the index within X of the first coordinate that is NaN or outside its interval, or -1; the outputs are then not to be
// used.
template <class T>
struct Kernels {
  std::int64_t (*tucker_eval)(const TuckerEval<T>&);
  std::int64_t (*tucker_eval_adjoint)(const TuckerEvalAdjoint<T>&);  // makes its own layout, another one
  std::int64_t (*tucker_derivatives)(const TuckerDerivatives<T>&);
  std::int64_t (*tucker_derivatives_adjoint)(const TuckerDerivativesAdjoint<T>&);
  void* (*pack)(const TuckerEval<T>&);  // reads core and factors alone
  void (*discard)(void* packed);
};

using Table = TableOf<Kernels>;

}  // namespace quatrefoil::cheb::scattered
