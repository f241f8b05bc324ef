// Checks boundary values and sources from Python and puts them into args.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "py/arguments.hpp"
#include "wos/data/args.hpp"

namespace quatrefoil::wos::data {

inline void call_compiled(void* context, std::int64_t, std::int64_t n, const double* x, double* out) {
  reinterpret_cast<void (*)(std::int64_t, const double*, double*)>(context)(n, x, out);
}
inline void call_compiled_of_instance(void* context, std::int64_t instance, std::int64_t n, const double* x, double* out) {
  call_compiled(static_cast<void**>(context)[instance], instance, n, x, out);
}
struct PythonFunction {
  py::object function;
  std::int64_t dimension;
};
// Calls the user's f(instance, X (n, d)) -> (n,) with the GIL, on a copy that f may keep. Uses memcpy: NumPy would release the GIL.
inline void call_python(void* context, std::int64_t instance, std::int64_t n, const double* x, double* out) {
  const GilHeld held;
  const PythonFunction& f = *static_cast<const PythonFunction*>(context);
  const py::int_ number(instance);
  py::array_t<double> points({n, f.dimension});
  std::memcpy(points.mutable_data(), x, std::size_t(n * f.dimension) * sizeof(double));
  const auto call = [&] { return PyObject_CallFunctionObjArgs(f.function.ptr(), number.ptr(), points.ptr(), nullptr); };
  const auto answer = py::reinterpret_steal<py::object>(wait_at_exit(call));
  if (!answer) throw py::error_already_set();
  const Input values(answer, "the values of a function");
  if (values.size() != n || values.dtype != Dtype::f64) throw ValueError("solve: a function did not return one float64 value per point");
  std::memcpy(out, values.as<double>(), std::size_t(n) * sizeof(double));
}

inline void set_callback(const Arguments& call, PythonFunction& f, decltype(Data::callback)& callback, void*& context) {
  const py::object address = py::getattr(f.function, "address", py::none());
  callback = address.is_none() ? call_python : call_compiled;
  context = address.is_none() ? &f : reinterpret_cast<void*>(address.cast<std::uintptr_t>());
  call.require(context != nullptr, "a function pointer is null");
}

// The facets of `count` polygons or of a mesh. first: each polygon's first segment; total: all segments or triangles, -1 for a solid.
struct Facets {
  const std::int64_t* first = nullptr;
  std::int64_t count = 1, total = -1;
};

// Boundary values or a source: parameters (1 or B, width), or a function.
struct DataOf {
  Data data;
  std::vector<std::int64_t> offsets;
  PythonFunction function;
  std::vector<void*> compiled;  // one function per instance

  DataOf(const Arguments& call, const char* name, const View& numbers, const std::string& kind, const py::object& f, const Facets& facets,
         std::int64_t first_instance, std::int64_t B, std::int64_t D)
      : function{f, D} {
    data.kind = Kind(call.choice(name, kind, {"none", "number", "fourier", "per_vertex", "gaussians", "polynomial", "grid", "function"}));
    const bool described = data.kind != Kind::none && data.kind != Kind::function;
    call.require(numbers.present == described,
                 "parameters are required for every kind of data except 'none' and 'function', which have none");
    if (data.kind == Kind::function) set_function(call, first_instance + B);
    if (!described) return;
    call.require(numbers.shape[0] == 1 || numbers.shape[0] == B, "data must have one row, or one row per instance");
    data.numbers = numbers.as<double>();
    data.width = numbers.shape[1];
    data.stride = numbers.shape[0] > 1 ? data.width : 0;
    check(call, numbers, facets, D);
  }

 private:
  void check(const Arguments& call, const View& numbers, const Facets& facets, std::int64_t D) {
    switch (data.kind) {
      case Kind::number: call.require(data.width == 1, "data of kind 'number' must have one column"); break;
      case Kind::fourier: call.require(data.width >= 3 && D == 2, "Fourier data need a centre and a0, and are two-dimensional"); break;
      case Kind::gaussians: call.require(data.width % (D + 2) == 0, "a Gaussian must have d + 2 numbers"); break;
      case Kind::polynomial:
      case Kind::grid:
        for (std::int64_t row = 0; row < numbers.shape[0]; ++row) check_table(call, row, D);
        break;
      default: set_corners(call, numbers, facets, D); break;
    }
  }
  void set_function(const Arguments& call, std::int64_t last) {
#if defined(QF_DEVICE)
    static_cast<void>(last);
    call.reject_type(
        "a host function cannot be called on a device; describe boundary values and sources by numbers (Fourier, Gaussians, "
        "Polynomial, PerVertex, GridField), or move the arrays to the host");
#else
    call.require(!function.function.is_none(), "expected a function");
    const py::object addresses = py::getattr(function.function, "addresses", py::none());
    if (!addresses.is_none()) {
      for (const py::handle each : addresses) compiled.push_back(reinterpret_cast<void*>(each.cast<std::uintptr_t>()));
      call.require(std::int64_t(compiled.size()) >= last, "expected one function per instance");
      call.require(std::find(compiled.begin(), compiled.end(), nullptr) == compiled.end(), "a function pointer is null");
      data.callback = call_compiled_of_instance, data.context = compiled.data();
      return;
    }
    set_callback(call, function, data.callback, data.context);
#endif
  }
  // Checks the sizes of a polynomial or a grid, which the host kernels rely on.
  void check_table(const Arguments& call, [[maybe_unused]] std::int64_t row, std::int64_t D) const {
    const std::int64_t begin = table_begin(data.kind, D);
    call.require(data.width >= begin, "a polynomial or a grid must begin with its sizes");
#if !defined(QF_DEVICE)
    const double* const p = data.numbers + row * data.stride;
    const std::int64_t minimum = data.kind == Kind::grid ? 2 : 1;
    std::int64_t count = 1;
    for (std::int64_t i = 0; i < D; ++i) {
      call.require(p[i] >= double(minimum) && p[i] <= double(data.width) && p[i] == std::floor(p[i]), "invalid table size");
      call.require(std::int64_t(p[i]) <= (data.width - begin) / count, "a table must fit in its row");
      count *= std::int64_t(p[i]);
    }
    for (std::int64_t i = 0; data.kind == Kind::grid && i < D; ++i) call.require(p[D + i] < p[2 * D + i], "a grid's box must not be empty");
#endif
  }
  void set_corners(const Arguments& call, const View& numbers, const Facets& facets, std::int64_t D) {
    call.require(data.width == D * facets.total, "values at vertices need one value per corner of every segment or triangle");
    if (facets.count == 1) return;
    call.require(numbers.shape[0] == 1, "values at the vertices of several polygons must be in one row");
    if (!facets.first) return;  // null on a device, where only the kernels read it
    for (std::int64_t b = 0; b <= facets.count; ++b) offsets.push_back(2 * facets.first[b]);
    data.offsets = offsets.data();
  }
};

// Reads the next argument: the parameters of data, which may be absent.
inline const View& numbers_of(Arguments& call, const char* name, const char* dims) {
  const auto fitted = call.optional_input(name, dims);
  [[maybe_unused]] const double* const checked = fitted;
  return fitted.view();
}

// The gradient with respect to the parameters of instances from `first` on; null if absent.
inline double* gradient_from(double* gradient, const Data& data, std::int64_t first) {
  return gradient ? gradient + (data.offsets ? 0 : first * data.stride) : nullptr;
}

inline Data from_instance(Data data, std::int64_t first) {
  if (data.offsets)
    data.offsets += first;
  else
    data.numbers += first * data.stride;
  return data;
}

}  // namespace quatrefoil::wos::data
