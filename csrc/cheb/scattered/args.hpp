// The ABI between bind.cpp and the kernels: pointers and sizes of C-contiguous arrays.
#pragma once
#include <cstdint>

#include "core/abi/table.hpp"

namespace quatrefoil::cheb::scattered {

constexpr int kMaxAxes = 16;  // the limit of View

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
  bool dense;        // no factors: the core contains the Chebyshev coefficients, and r is n
  bool extrapolate;  // accept points outside the domain
  int threads;
  const void* packed;  // the result of `pack`, read instead of core and factors, or null
};

template <class T>
struct TuckerEvalAdjoint {
  TuckerEval<T> forward;  // f unused
  const T* grad;          // (P,)
  T* dcore;
  T* dfactors[kMaxAxes];
  T* dX;  // (P, d)
};

template <class T>
struct TuckerDerivatives {
  TuckerEval<T> value;
  T* gradient;  // (P, d), or null
  T* hessian;   // (P, d, d), or null; only with the gradient
};

template <class T>
struct TuckerDerivativesAdjoint {
  TuckerEvalAdjoint<T> value;  // value.grad: the gradient of f
  const T* grad_gradient;      // (P, d), or null
  const T* grad_hessian;       // (P, d, d), or null
};

// Kernels return -1 or, if the outputs are invalid, the index within X of the first coordinate that is NaN or outside its interval.
template <class T>
struct Kernels {
  std::int64_t (*tucker_eval)(const TuckerEval<T>&);
  std::int64_t (*tucker_eval_adjoint)(const TuckerEvalAdjoint<T>&);  // uses its own layout
  std::int64_t (*tucker_derivatives)(const TuckerDerivatives<T>&);
  std::int64_t (*tucker_derivatives_adjoint)(const TuckerDerivativesAdjoint<T>&);
  void* (*pack)(const TuckerEval<T>&);  // reads only core and factors
  void (*discard)(void* packed);
};

using Table = TableOf<Kernels>;

}  // namespace quatrefoil::cheb::scattered
