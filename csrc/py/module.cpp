// The extension module: errors, threads, instruction sets, and one line a family.
#include <pybind11/pybind11.h>

#include <new>
#include <stdexcept>

#include "core/check.hpp"
#include "core/isa.hpp"
#include "core/parallel.hpp"
#include "py/call.hpp"
#include "py/result.hpp"

namespace quatrefoil {
namespace py = pybind11;

#define QF_FAMILIES(X) X(ssm) X(kron) X(cheb) X(wos)

#define QF_DECLARE(family) void register_##family(py::module_&);
QF_FAMILIES(QF_DECLARE)

namespace {

bool signal_pending() {
  py::gil_scoped_acquire held;
  return PyErr_CheckSignals() != 0;
}

void translate(std::exception_ptr p) {
  try {
    if (p) std::rethrow_exception(p);
  } catch (const Interrupted&) {
    if (!PyErr_Occurred()) PyErr_SetNone(PyExc_KeyboardInterrupt);
  } catch (const ValueError& e) {
    PyErr_SetString(PyExc_ValueError, e.what());
  } catch (const TypeError& e) {
    PyErr_SetString(PyExc_TypeError, e.what());
  } catch (const LinAlgError& e) {
    PyErr_SetString(py::module_::import("numpy.linalg").attr("LinAlgError").ptr(), e.what());
  } catch (const std::length_error& e) {  // a size that no allocator could meet
    PyErr_SetString(PyExc_MemoryError, e.what());
  }
}

}  // namespace

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
  m.doc() = "Compiled kernels. No checks beyond memory safety: use quatrefoil's public functions.";
  py::register_exception_translator(translate);
  interrupt_poll = signal_pending;

  m.attr("version") = QUATREFOIL_VERSION;
  m.def("choose_isa", &choose_isa, py::arg("name"));
  m.def("isa", [] { return name(isa()); });
  m.def("isas", [] {
    py::list names;
    for (Isa level : isas_here()) names.append(name(level));
    return names;
  });
  register_call(m);
  register_result(m);
  m.def("set_num_threads", &set_default_threads, py::arg("n"));
  m.def("get_num_threads", &default_threads);

#define QF_REGISTER(family)                           \
  {                                                   \
    py::module_ submodule = m.def_submodule(#family); \
    register_##family(submodule);                     \
  }
  QF_FAMILIES(QF_REGISTER)
}

}  // namespace quatrefoil
