// What a call's plan depends on, as one bytes object: per array its type, dtype, shape and, of a tensor, device, contiguity,
// requires_grad and pending sign or conjugation. Everything the front door has to look at, in one pass without an interpreter loop.
#include "py/signature.hpp"

#include <string>

#include "py/dlpack.hpp"

namespace quatrefoil {
namespace {

class Writer {
 public:
  template <class T>
  void put(T value) {
    text_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  py::bytes bytes() const { return text_; }

 private:
  std::string text_;
};

struct Names {  // interned once
  PyObject* requires_grad = PyUnicode_InternFromString("requires_grad");
  PyObject* is_neg = PyUnicode_InternFromString("is_neg");
  PyObject* is_conj = PyUnicode_InternFromString("is_conj");
};

bool truth(PyObject* owned) {
  if (!owned) throw py::error_already_set();
  const int value = PyObject_IsTrue(owned);
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

// Anything else that has a dtype and a shape: by attributes.
void put_other(Writer& w, py::handle h) {
  w.put(h.attr("dtype").ptr());
  const py::tuple shape = h.attr("shape");
  w.put(int(shape.size()));
  for (py::handle n : shape) w.put(n.cast<std::int64_t>());
  w.put(py::hasattr(h, "requires_grad") && h.attr("requires_grad").cast<bool>());
}

}  // namespace

py::bytes signature(const py::sequence& arrays) {
  Writer w;
  for (py::handle h : arrays) {
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
    } else {
      PyErr_Clear();
      put_other(w, h);
    }
  }
  return w.bytes();
}

}  // namespace quatrefoil
