// The kernels of a noun in both precisions: what its cpu.cpp defines once per instruction set and its binding calls.
#pragma once
#include <type_traits>

namespace quatrefoil {

template <template <class> class Kernels>
struct TableOf {
  Kernels<float> f32;
  Kernels<double> f64;

  template <class T>
  const Kernels<T>& of() const {
    if constexpr (std::is_same<T, float>::value)
      return f32;
    else
      return f64;
  }
};

}  // namespace quatrefoil
