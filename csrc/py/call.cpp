#include "py/call.hpp"

#include <pybind11/numpy.h>

#include <string>

#include "py/dlpack.hpp"
#include "py/gil.hpp"

namespace quatrefoil {
namespace {

// Writes the bytes of a signature, which contains all that a plan depends on: the type, dtype and shape of each array; for tensors, also
// the device, contiguity, requires_grad and pending negation or conjugation.
class Writer {
 public:
  template <class T>
  void put(T value) {
    if (used_ + sizeof value > sizeof text_) throw py::value_error("too many arrays or axes in one call");
    __builtin_memcpy(text_ + used_, &value, sizeof value);
    used_ += sizeof value;
  }
  py::bytes bytes() const { return py::bytes(text_, used_); }

 private:
  char text_[8192];
  std::size_t used_ = 0;
};

struct Names {  // interned once
  PyObject* requires_grad = PyUnicode_InternFromString("requires_grad");
  PyObject* is_neg = PyUnicode_InternFromString("is_neg");
  PyObject* is_conj = PyUnicode_InternFromString("is_conj");
};

bool truth(PyObject* owned) {
  if (!owned) throw py::error_already_set();
  const int value = owned == Py_True ? 1 : owned == Py_False ? 0 : PyObject_IsTrue(owned);
  Py_DECREF(owned);
  return value == 1;
}

void put_numpy(Writer& w, const py::array& a) {
  const py::dtype dtype = a.dtype();
  w.put(dtype.num());
  w.put(dtype.byteorder());
  w.put(int(a.ndim()));
  for (py::ssize_t i = 0; i < a.ndim(); ++i) w.put(std::int64_t(a.shape(i)));
}

void put_tensor(Writer& w, py::handle h, const dlpack::Tensor& t) {
  static const Names names;
  w.put(t.dtype);
  w.put(t.device);
  w.put(t.ndim);
  std::int64_t expected = 1;
  bool contiguous = true;
  for (int i = t.ndim - 1; i >= 0; --i) {
    w.put(t.shape[i]);
    contiguous = contiguous && (t.shape[i] == 1 || t.strides[i] == expected);
    expected *= t.shape[i];
  }
  w.put(contiguous);
  w.put(truth(PyObject_GetAttr(h.ptr(), names.requires_grad)));
  w.put(truth(PyObject_CallMethodNoArgs(h.ptr(), names.is_neg)));
  if (t.dtype.code == dlpack::kComplex) w.put(truth(PyObject_CallMethodNoArgs(h.ptr(), names.is_conj)));
}

// Writes any other object with a dtype and a shape, such as a tensor without memory, from its attributes.
void put_other(Writer& w, py::handle h) {
  w.put(h.attr("dtype").ptr());
  const py::tuple shape = h.attr("shape");
  w.put(int(shape.size()));
  for (py::handle n : shape) w.put(n.cast<std::int64_t>());
  w.put(py::hasattr(h, "requires_grad") && h.attr("requires_grad").cast<bool>());
  const std::string device = py::hasattr(h, "device") ? std::string(py::str(h.attr("device"))) : std::string();
  w.put(device.size());
  for (const char c : device) w.put(c);
}

py::bytes signature(py::handle arrays, dlpack::CallTensors& tensors) {
  Writer w;
  PyObject* const* items = PySequence_Fast_ITEMS(arrays.ptr());
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(arrays.ptr()); ++i) {
    const py::handle h(items[i]);
    w.put(h.is_none() ? nullptr : Py_TYPE(h.ptr()));
    if (h.is_none()) continue;
    if (py::isinstance<py::array>(h)) {
      put_numpy(w, py::reinterpret_borrow<py::array>(h));
      continue;
    }
    const dlpack::ExchangeApi* api = dlpack::exchange_api(Py_TYPE(h.ptr()));
    dlpack::Tensor t;
    if (api && api->tensor_from(h.ptr(), &t) == 0) {
      put_tensor(w, h, t);
      tensors.add(h.ptr(), t);
    } else {
      PyErr_Clear();
      put_other(w, h);
    }
  }
  return w.bytes();
}

// The value of a key; null if it is missing or, with an error set, if the key is not hashable. Returns a new reference, because without a
// GIL another thread may clear the dict and free a borrowed value.
py::object value_of(PyObject* dict, PyObject* key) {
#if PY_VERSION_HEX >= 0x030D0000
  PyObject* value = nullptr;
  (void)PyDict_GetItemRef(dict, key, &value);
  return py::reinterpret_steal<py::object>(value);
#else
  return py::reinterpret_borrow<py::object>(PyDict_GetItemWithError(dict, key));
#endif
}

// call(plans, planner, op, options, backend, arrays, extras, out, threads), without pybind11's dispatch, which would double the cost.
PyObject* call(PyObject*, PyObject* const* args, Py_ssize_t count) {
  enum { kPlans, kPlanner, kOp, kOptions, kBackend, kArrays, kExtras, kOut, kThreads, kCount };
  if (count != kCount || !PyDict_Check(args[kPlans]) || !(PyTuple_Check(args[kArrays]) || PyList_Check(args[kArrays]))) {
    PyErr_SetString(PyExc_TypeError,
                    "call(plans, planner, op, options, backend, arrays, extras, out, threads): plans is a dict, arrays a tuple");
    return nullptr;
  }
  dlpack::CallTensors tensors;
  py::object key;
  try {
    const py::bytes text = signature(args[kArrays], tensors);
    key = py::reinterpret_steal<py::object>(PyTuple_Pack(3, args[kOptions], args[kBackend], text.ptr()));
  } catch (py::error_already_set& e) {
    const bool not_an_array = e.matches(PyExc_AttributeError) || e.matches(PyExc_TypeError) || e.matches(PyExc_RuntimeError);
    if (!not_an_array) return e.restore(), nullptr;  // otherwise there is no key, and the planner raises a better error
  } catch (const py::cast_error&) {                  // a shape whose entries are not integers
  } catch (const py::value_error& e) {
    PyErr_SetString(PyExc_ValueError, e.what());
    return nullptr;
  }
  py::object plan;
  if (key) plan = value_of(args[kPlans], key.ptr());
  if (!plan) {
    if (PyErr_Occurred()) return nullptr;
    PyObject* const request[] = {args[kOp], key ? key.ptr() : Py_None, args[kArrays], args[kOptions], args[kBackend]};
    plan = py::reinterpret_steal<py::object>(wait_at_exit([&] { return PyObject_Vectorcall(args[kPlanner], request, 5, nullptr); }));
    if (!plan) return nullptr;
  }
  // arrays, extras, out, threads are adjacent in `args`
  return wait_at_exit([&] { return PyObject_Vectorcall(plan.ptr(), args + kArrays, kCount - kArrays, nullptr); });
}

PyMethodDef definition = {"call", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&call)), METH_FASTCALL,
                          "call(plans, planner, op, options, backend, arrays, extras, out, threads)"};

}  // namespace

void register_call(py::module_& m) { m.attr("call") = py::reinterpret_steal<py::object>(PyCFunction_New(&definition, nullptr)); }

}  // namespace quatrefoil
