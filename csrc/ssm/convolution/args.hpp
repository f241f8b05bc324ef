// Arguments of the kernels: pointers and sizes.
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
struct FftConvAdjoint : FftConv<T> {  // y unused
  const T* grad;                      // (B, H, L)
  T *du, *dk, *dD, *dk_reverse;       // same shapes as the inputs; null where the input is
};

template <class T>
struct Kernels {
  void (*fft_conv)(const FftConv<T>&);
  void (*fft_conv_adjoint)(const FftConvAdjoint<T>&);
};
using Table = TableOf<Kernels>;

}  // namespace quatrefoil::ssm::convolution
