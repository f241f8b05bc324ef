#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

namespace quatrefoil {
namespace py = pybind11;

// The key under which a call with these arrays (None where absent) is planned. Raises for what is no array.
py::bytes signature(const py::sequence& arrays);

}  // namespace quatrefoil
