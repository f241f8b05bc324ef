#pragma once
#include <cstdint>

#include "core/cplx.hpp"

namespace quatrefoil::ssm {

template <class T>
struct S4Kernel {
  const T* dt;                           // (H,)
  const cplx<T>*Lambda, *P, *B, *C, *Q;  // (H, N); Q may be null: P
  T* K;                                  // (H, L)
  std::int64_t H, N, L;
  bool truncated;  // C is given times I - Abar^L
  int threads;
};

template <class T>
struct S4KernelVjp {
  S4Kernel<T> forward;  // K unused
  const T* grad;        // (H, L)
  T* ddt;
  cplx<T>*dLambda, *dP, *dB, *dC, *dQ;  // dQ may be null
};

template <class T>
struct DplrKernels {
  void (*s4_kernel)(const S4Kernel<T>&);
  void (*s4_kernel_vjp)(const S4KernelVjp<T>&);
};

}  // namespace quatrefoil::ssm
