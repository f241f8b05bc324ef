// Arguments of the kernels: pointers and sizes; all arrays are contiguous.
#pragma once
#include <cstdint>

#include "core/abi/table.hpp"

namespace quatrefoil::ssm::decay {

template <class T>
struct Decay {
  const T *x, *rate;  // (B, H, L), (H,)
  T* y;               // (B, H, L)
  std::int64_t B, H, L;
  int threads;
};

template <class T>
struct DecayAdjoint {
  Decay<T> forward;  // y unused
  const T* grad;     // (B, H, L)
  T *dx, *drate;     // (B, H, L), (H,)
};

template <class T>
struct Kernels {
  void (*decay)(const Decay<T>&);
  void (*decay_adjoint)(const DecayAdjoint<T>&);
};
using Table = TableOf<Kernels>;

}  // namespace quatrefoil::ssm::decay
