#pragma once
#include <cstdint>

#include "core/cplx.hpp"

namespace quatrefoil::ssm {

template <class T>
struct CauchyMult {
  const cplx<T>*v, *z, *w;  // (B, N), (L,), (B, N)
  cplx<T>* y;               // (B, L)
  std::int64_t B, N, L;
  bool symmetric;
  int threads;
};

template <class T>
struct CauchyMultVjp {
  CauchyMult<T> forward;  // y unused
  const cplx<T>* grad;    // (B, L)
  cplx<T>*dv, *dz, *dw;
};

template <class T>
struct CauchyKernels {
  void (*cauchy_mult)(const CauchyMult<T>&);
  void (*cauchy_mult_vjp)(const CauchyMultVjp<T>&);
};

}  // namespace quatrefoil::ssm
