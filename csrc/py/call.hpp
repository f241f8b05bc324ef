// The front door: one look at the arrays of a call gives the key under which its plan is remembered, and the views that the kernel's
// binding will ask for.
#pragma once
#include <pybind11/pybind11.h>

namespace quatrefoil {
namespace py = pybind11;

// Adds call(plans, planner, op, options, backend, arrays, extras, out, threads) =
// plans[options, backend, signature](arrays, extras, out, threads). Where there is no such plan yet, planner(op, key, arrays, options,
// backend) makes it and remembers it; its key is None where an argument is not an array, and then it raises.
void register_call(py::module_& m);

}  // namespace quatrefoil
