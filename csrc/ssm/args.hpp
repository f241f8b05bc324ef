// The ABI between bind.cpp and the kernels: pointers, sizes, strides.
#pragma once
#include <cstdint>

#include "core/cplx.hpp"
#include "core/rows.hpp"

namespace quatrefoil::ssm {

template <class T>
struct FftConv {
  const T* u;          // (B, H, L)
  const T* k;          // (H, Lk)
  const T* D;          // (H,) or null
  const T* k_reverse;  // (H, Lr) or null
  T* y;                // (B, H, L)
  std::int64_t B, H, L, Lk, Lr;
  int threads;
};

template <class T>
struct FftConvVjp {
  FftConv<T> forward;  // y unused
  const T* grad;       // (B, H, L)
  T* du;               // (B, H, L)
  T* dk;               // (H, Lk)
  T* dD;               // (H,) or null
  T* dk_reverse;       // (H, Lr) or null
};

template <class E>
struct LinearScan {  // E: float, double, cplx<float>, cplx<double>
  enum { kA, kB, kH0, kH };
  const E *a, *b, *h0;  // h0 may be null
  E* h;
  Rows<4> rows;
  bool reverse;
  int threads;
};

template <class E>
struct LinearScanVjp {
  enum { kA, kB, kH0, kGrad, kDa, kDb, kDh0 };
  const E *a, *b, *h0, *grad;
  E *da, *db, *dh0;  // da has the shape of b: the caller sums what was broadcast; dh0 may be null
  Rows<7> rows;
  bool reverse;
  int threads;
};

template <class T>
struct Kernels {
  void (*fft_conv)(const FftConv<T>&);
  void (*fft_conv_vjp)(const FftConvVjp<T>&);
  void (*linear_scan)(const LinearScan<T>&);
  void (*linear_scan_vjp)(const LinearScanVjp<T>&);
  void (*linear_scan_complex)(const LinearScan<cplx<T>>&);
  void (*linear_scan_complex_vjp)(const LinearScanVjp<cplx<T>>&);
};

struct Table {
  Kernels<float> f32;
  Kernels<double> f64;
};

}  // namespace quatrefoil::ssm
