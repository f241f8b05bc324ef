// The entry point of every call. One pass over its arrays gives the key of the cached plan, and the views for the kernel's binding.
#pragma once
#include <pybind11/pybind11.h>

namespace quatrefoil {
namespace py = pybind11;

// Adds call(plans, planner, op, options, backend, arrays, extras, out, threads) =
// plans[options, backend, signature](arrays, extras, out, threads). If there is no such plan yet, planner(op, key, arrays, options,
// backend) creates and stores it. The planner raises if an argument is not an array; the key is then None.
void register_call(py::module_& m);

}  // namespace quatrefoil
