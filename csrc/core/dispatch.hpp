// From run-time values to template arguments.
#pragma once
#include <type_traits>

#include "core/view.hpp"

namespace quatrefoil {

// f(T()) with T the real type of the numbers.
template <class F>
auto dispatch_real(Dtype dtype, const char* function, F&& f) {
  switch (dtype) {
    case Dtype::f32: return f(float());
    case Dtype::f64: return f(double());
    default: throw TypeError(std::string(function) + ": expected float32 or float64");
  }
}

// The kernels of one precision in a family's table {f32, f64}.
template <class T, class Table>
const auto& kernels(const Table& table) {
  if constexpr (std::is_same<T, float>::value)
    return table.f32;
  else
    return table.f64;
}

}  // namespace quatrefoil
