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

inline bool is_complex(Dtype dtype) { return dtype == Dtype::c64 || dtype == Dtype::c128; }
inline Dtype real_of(Dtype dtype) { return dtype == Dtype::c64 ? Dtype::f32 : dtype == Dtype::c128 ? Dtype::f64 : dtype; }
inline Dtype complex_of(Dtype dtype) { return dtype == Dtype::f32 ? Dtype::c64 : dtype == Dtype::f64 ? Dtype::c128 : dtype; }

}  // namespace quatrefoil
