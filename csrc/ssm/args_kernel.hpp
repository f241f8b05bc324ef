#pragma once
#include <cstdint>

#include "core/cplx.hpp"

namespace quatrefoil::ssm {

enum class Disc { zoh, bilinear, dss };

template <class T>
struct S4dKernel {
  const T* dt;       // (H,)
  const cplx<T>* A;  // (H, N)
  const cplx<T>* C;  // (M, H, N)
  const cplx<T>* B;  // (H, N) or null
  T* K;              // (M, H, L)
  std::int64_t M, H, N, L;
  Disc disc;
  int threads;
};

template <class T>
struct S4dKernelVjp {
  S4dKernel<T> forward;  // K unused
  const T* grad;         // (M, H, L)
  T* ddt;                // (H,)
  cplx<T>* dA;           // (H, N)
  cplx<T>* dC;           // (M, H, N)
  cplx<T>* dB;           // (H, N) or null
};

template <class T>
struct KernelKernels {
  void (*s4d_kernel)(const S4dKernel<T>&);
  void (*s4d_kernel_vjp)(const S4dKernelVjp<T>&);
};

}  // namespace quatrefoil::ssm
