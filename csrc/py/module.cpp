// The extension module: errors, threads, instruction sets, and the methods of every family.
#include <pybind11/pybind11.h>

#include <atomic>
#include <new>
#include <stdexcept>

#include "core/host/check.hpp"
#include "core/host/isa.hpp"
#include "core/run/interrupt.hpp"
#include "core/run/parallel.hpp"
#include "methods.hpp"  // QF_EACH_METHOD(X): X(ssm, scan) X(ssm, convolution) ..., written by CMake
#include "py/call.hpp"
#include "py/gil.hpp"
#include "py/result.hpp"

#define QF_DECLARE(family, method) \
  namespace quatrefoil::family::method { void bind(pybind11::module_&); }
QF_EACH_METHOD(QF_DECLARE)

namespace quatrefoil {
namespace py = pybind11;

namespace {

std::atomic<unsigned long> main_thread;  // handles signals; other threads never request the GIL, because they might not get it

bool signal_pending() {
  if (PyThread_get_thread_ident() != main_thread) return false;
  const GilHeld held;
  return PyErr_CheckSignals() != 0;
}
void find_main_thread() {
  main_thread = py::module_::import("threading").attr("main_thread")().attr("ident").cast<unsigned long>();
  const py::module_ os = py::module_::import("os");
  if (!py::hasattr(os, "register_at_fork")) return;
  os.attr("register_at_fork")(py::arg("after_in_child") = py::cpp_function([] { main_thread = PyThread_get_thread_ident(); }));
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
  } catch (const std::length_error& e) {  // a size that no allocator can satisfy
    PyErr_SetString(PyExc_MemoryError, e.what());
  }
}

}  // namespace

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
  m.doc() = "Compiled kernels. No checks beyond memory safety: use quatrefoil's public functions.";
  py::register_exception_translator(translate);
  find_main_thread();
  interrupt_poll = signal_pending;

  m.attr("version") = QUATREFOIL_VERSION;
  m.def("choose_isa", &choose_isa, py::arg("name"));
  m.def("isa", [] { return name(isa()); });
  m.def("isas", [] {
    py::list names;
    for (Isa level : isas_supported()) names.append(name(level));
    return names;
  });
  py::list built;  // all instruction sets in this binary; isas() lists those that the processor supports
  for (Isa level : isas_built()) built.append(name(level));
  m.attr("isas_built") = py::tuple(built);
  register_call(m);
  register_result(m);
  m.def("set_num_threads", &set_default_threads, py::arg("n"));
  m.def("get_num_threads", &default_threads);

#define QF_BIND(family, method)                    \
  {                                                \
    py::module_ module = m.def_submodule(#family); \
    family::method::bind(module);                  \
  }
  QF_EACH_METHOD(QF_BIND)
}

}  // namespace quatrefoil
