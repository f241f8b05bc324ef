// The extension module of the GPU kernels: quatrefoil._cuda. The emulator in tests/emu compiles it as the module _emu.
#include <pybind11/pybind11.h>

#include <sstream>

#include "core/cuda/device.hpp"
#include "core/host/check.hpp"
#include "device_methods.hpp"  // QF_EACH_METHOD(X): X(ssm, scan) ... for methods with a cuda.cu; written by CMake

// Declares the bindings in csrc/ssm/scan/bind.cpp and the names of the ops with kernels in csrc/ssm/scan/cuda.cu, and so on.
#define QF_DECLARE(family, method)                                        \
  namespace quatrefoil::family::method { void bind(pybind11::module_&); } \
  namespace quatrefoil::family::method::cuda { extern const char* const ops; }
QF_EACH_METHOD(QF_DECLARE)

namespace quatrefoil {
namespace py = pybind11;

#if defined(QF_EMULATOR)
void bind_emulator(py::module_&);
#endif

namespace {

void translate(std::exception_ptr p) {
  try {
    if (p) std::rethrow_exception(p);
  } catch (const ValueError& e) {
    PyErr_SetString(PyExc_ValueError, e.what());
  } catch (const TypeError& e) {
    PyErr_SetString(PyExc_TypeError, e.what());
  } catch (const DeviceMemoryError& e) {
    PyErr_SetString(PyExc_MemoryError, e.what());
  }
}

void bind_method(py::module_& m, const char* family, void (*bind)(py::module_&), const char* ops) {
  auto all = py::reinterpret_steal<py::module_>(PyModule_New(family));
  bind(all);
  py::module_ public_ops = m.def_submodule(family);
  std::istringstream names(ops);
  for (std::string name; names >> name;) public_ops.attr(name.c_str()) = all.attr(name.c_str());
}

}  // namespace

PYBIND11_MODULE(QF_MODULE, m, py::mod_gil_not_used()) {
  m.doc() = "Compiled GPU kernels. No checks beyond memory safety: use quatrefoil's public functions.";
  py::register_local_exception_translator(translate);

  m.attr("version") = QUATREFOIL_VERSION;
  m.attr("archs") = QF_ARCHS;  // "80-real 90-real 100"
  m.def("device_count", &device_count);
  m.def("why_no_device", &why_no_device);
  m.def("device_name", &device_name, py::arg("at"));
  m.def("capability", &capability, py::arg("at"));
#if defined(QF_EMULATOR)
  bind_emulator(m);
#endif
#define QF_BIND(family, method) bind_method(m, #family, &family::method::bind, family::method::cuda::ops);
  QF_EACH_METHOD(QF_BIND)
}

}  // namespace quatrefoil
