// The kernels of a method in both precisions: cpu.cpp defines them once per instruction set, and bind.cpp calls them.
#pragma once
#include <type_traits>

namespace quatrefoil {

template <template <class> class Kernels>
struct TableOf {
  Kernels<float> f32;
  Kernels<double> f64;

  template <class T>
  const Kernels<T>& kernels() const {
    if constexpr (std::is_same_v<T, float>)
      return f32;
    else
      return f64;
  }
};

}  // namespace quatrefoil

// QF_KERNELS(scan<T>, scan_adjoint<T>): defines the table of a method's kernels.
#define QF_KERNELS(...)                          \
  template <class T>                             \
  constexpr Kernels<T> kKernels = {__VA_ARGS__}; \
  extern const Table kernels;                    \
  const Table kernels = {kKernels<float>, kKernels<double>};
