// From run-time values to template arguments.
#pragma once
#include "core/host/view.hpp"

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

}  // namespace quatrefoil
