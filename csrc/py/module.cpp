// The extension module: errors, threads, instruction sets, and one line a family.
#include <pybind11/pybind11.h>

#include <new>
#include <stdexcept>

#include "core/check.hpp"
#include "core/isa.hpp"
#include "core/parallel.hpp"
#include "py/signature.hpp"

namespace quatrefoil {
namespace py = pybind11;

void register_ssm(py::module_&);
void register_kron(py::module_&);
void register_cheb(py::module_&);
void register_wos(py::module_&);

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
  m.def("signature", &signature, py::arg("arrays"));
  m.def("set_num_threads", &set_default_threads, py::arg("n"));
  m.def("get_num_threads", &default_threads);

  py::module_ ssm = m.def_submodule("ssm");
  register_ssm(ssm);
  py::module_ kron = m.def_submodule("kron");
  register_kron(kron);
  py::module_ cheb = m.def_submodule("cheb");
  register_cheb(cheb);
  py::module_ wos = m.def_submodule("wos");
  register_wos(wos);
}

}  // namespace quatrefoil
