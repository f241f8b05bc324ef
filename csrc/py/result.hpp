// NumPy arrays for large results, in memory that core/run/memory.hpp reuses.
#pragma once
#include <pybind11/numpy.h>

namespace quatrefoil {

void register_result(pybind11::module_&);  // empty(shape, dtype)

}  // namespace quatrefoil
