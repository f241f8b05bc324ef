// The ABI between bind.cpp and the kernels: pointers and sizes of C-contiguous arrays.
#pragma once
#include <cstdint>

#include "core/abi/table.hpp"

namespace quatrefoil::cheb::transform {

// y = D x along one axis (1), for one of the four maps of (2), (3) and (8).
template <class T>
struct Transform {
  const T* x;                     // (before, n, after)
  T* y;                           // the same shape; may be x
  std::int64_t before, n, after;  // n >= 1
  bool interpolates;              // halves the ends of x and of y, and divides y by (n - 1) / 2
  bool from_the_end;              // reverses x instead of y
  int threads;
};

template <class T>
struct Kernels {
  void (*transform)(const Transform<T>&);
};

using Table = TableOf<Kernels>;

}  // namespace quatrefoil::cheb::transform
