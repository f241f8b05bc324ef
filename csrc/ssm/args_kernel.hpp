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
struct LogVandermonde {
  const cplx<T>* v;  // (M, H, N)
  const cplx<T>* x;  // (H, N)
  T* y;              // (M, H, L): twice the real part; or cplx (M, H, L)
  std::int64_t M, H, N, L;
  bool conj;  // whether v and x stand for conjugate pairs
  int threads;
};

template <class T>
struct LogVandermondeVjp {
  LogVandermonde<T> forward;  // y unused
  const T* grad;              // like y
  cplx<T>*dv, *dx;
};

template <class T>
struct LogVandermondeTranspose {
  const T* u;        // (M, H, L)
  const cplx<T>* v;  // (M, H, N)
  const cplx<T>* x;  // (H, N)
  cplx<T>* y;        // (M, H, N)
  std::int64_t M, H, N, L;
  int threads;
};

template <class T>
struct LogVandermondeTransposeVjp {
  LogVandermondeTranspose<T> forward;  // y unused
  const cplx<T>* grad;                 // (M, H, N)
  T* du;
  cplx<T>*dv, *dx;
};

template <class T>
struct KernelKernels {
  void (*s4d_kernel)(const S4dKernel<T>&);
  void (*s4d_kernel_vjp)(const S4dKernelVjp<T>&);
  void (*log_vandermonde)(const LogVandermonde<T>&);
  void (*log_vandermonde_vjp)(const LogVandermondeVjp<T>&);
  void (*log_vandermonde_transpose)(const LogVandermondeTranspose<T>&);
  void (*log_vandermonde_transpose_vjp)(const LogVandermondeTransposeVjp<T>&);
};

}  // namespace quatrefoil::ssm
