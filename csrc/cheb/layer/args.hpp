// The ABI between bind.cpp and the kernels: pointers and sizes of C-contiguous arrays.
#pragma once
#include <cstdint>

#include "core/abi/table.hpp"

namespace quatrefoil::cheb::layer {

template <class T>
struct PolyLayer {
  const T* X;      // (N, I)
  const T* W;      // (I, K, O)
  const T *a, *b;  // (I, K), or (K,) for all inputs
  T* Y;            // (N, O)
  std::int64_t N, I, K, O;
  std::int64_t a_stride, b_stride;  // K, or 0
  int threads;
};

template <class T>
struct PolyLayerAdjoint {
  PolyLayer<T> forward;  // Y unused
  const T* grad;         // (N, O)
  T *dX, *dW;            // either may be null
};

// Kernels return -1 or, if the outputs are invalid, the index of the first element of b that is not positive and finite.
template <class T>
struct Kernels {
  std::int64_t (*poly_layer)(const PolyLayer<T>&);
  std::int64_t (*poly_layer_adjoint)(const PolyLayerAdjoint<T>&);
};

using Table = TableOf<Kernels>;

}  // namespace quatrefoil::cheb::layer
