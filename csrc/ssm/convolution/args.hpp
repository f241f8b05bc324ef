// What the bindings hand to the kernels: pointers, sizes, strides.
#pragma once
#include <cstdint>

#include "core/abi/table.hpp"

namespace quatrefoil::ssm::convolution {

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
struct FftConvAdjoint {
  FftConv<T> forward;  // y unused
  const T* grad;       // (B, H, L)
  T* du;               // (B, H, L)
  T* dk;               // (H, Lk)
  T* dD;               // (H,) or null
  T* dk_reverse;       // (H, Lr) or null
};

template <class T>
struct Kernels {
  void (*fft_conv)(const FftConv<T>&);
  void (*fft_conv_adjoint)(const FftConvAdjoint<T>&);
};
using Table = TableOf<Kernels>;

}  // namespace quatrefoil::ssm::convolution
