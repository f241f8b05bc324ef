#include "py/dlpack.hpp"

#include <string>

namespace quatrefoil::dlpack {
namespace py = pybind11;

thread_local CallTensors* CallTensors::current = nullptr;

Dtype dtype_from(int code, int bits, const char* name) {
  if (code == kFloat && bits == 32) return Dtype::f32;
  if (code == kFloat && bits == 64) return Dtype::f64;
  if (code == kComplex && bits == 64) return Dtype::c64;
  if (code == kComplex && bits == 128) return Dtype::c128;
  if (code == kInt && bits == 64) return Dtype::i64;
  if (code == kBool && bits == 8) return Dtype::b8;
  throw TypeError(std::string(name) + ": unsupported dtype");
}

View view(const Tensor& t, const char* name) {
  if (t.ndim > View::kMaxRank) throw ValueError(std::string(name) + ": too many axes");
  View v;
  v.present = true;
  v.dtype = dtype_from(t.dtype.code, t.dtype.bits, name);
  v.data = static_cast<char*>(t.data) + t.byte_offset;
  v.rank = t.ndim;
  for (int i = 0; i < v.rank; ++i) {
    v.shape[i] = t.shape[i];
    v.stride[i] = t.strides[i];
  }
  if (v.size() > 0 && !t.data) throw TypeError(std::string(name) + " has no memory (a fake or traced tensor?)");
  return v;
}

const ExchangeApi* exchange_api(PyTypeObject* type) {
  static thread_local PyTypeObject* known = nullptr;
  static thread_local const ExchangeApi* api = nullptr;
  if (type != known) {
    const py::handle t(reinterpret_cast<PyObject*>(type));
    api = nullptr;
    if (py::hasattr(t, "__dlpack_c_exchange_api__")) {
      const py::object capsule = t.attr("__dlpack_c_exchange_api__");
      api = static_cast<const ExchangeApi*>(PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
      if (!api) throw py::error_already_set();
      if (api->header.version.major != 1) api = nullptr;
    }
    known = type;
  }
  return api;
}

}  // namespace quatrefoil::dlpack
