// NumPy arrays for large results, on memory that core/memory.hpp keeps for the next ones.
#pragma once
#include <pybind11/numpy.h>

namespace quatrefoil {

void register_result(pybind11::module_&);  // empty(shape, dtype)

}  // namespace quatrefoil
