#include "py/result.hpp"

#include <cstdio>
#include <new>
#include <stdexcept>
#include <vector>

#include "core/run/memory.hpp"

namespace quatrefoil {
namespace py = pybind11;
namespace {

[[noreturn]] void too_large(const py::object& shape, double bytes) {
  char size[32];
  std::snprintf(size, sizeof size, "%.3g", bytes / (1 << 30));
  throw std::length_error("cannot allocate " + std::string(size) + " GiB for a result of shape " + std::string(py::str(shape)));
}

// Like numpy.empty; freed memory is kept for reuse.
py::array empty(const py::tuple& shape, const py::dtype& dtype) {
  std::vector<py::ssize_t> sizes;
  for (const py::handle n : shape) sizes.push_back(n.cast<py::ssize_t>());
  py::ssize_t bytes = dtype.itemsize();
  double wanted = double(bytes);
  bool fits = true;
  for (const py::ssize_t n : sizes) fits = !__builtin_mul_overflow(bytes, n, &bytes) && fits, wanted *= double(n);
  if (!fits) too_large(shape, wanted);
  try {
    void* const data = allocate(std::size_t(bytes));
    return py::array(dtype, sizes, data, py::capsule(data, release));
  } catch (const std::bad_alloc&) {
    too_large(shape, wanted);
  }
}

}  // namespace

void register_result(py::module_& m) { m.def("empty", &empty, py::arg("shape"), py::arg("dtype")); }

}  // namespace quatrefoil
