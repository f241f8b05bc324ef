#include "py/caster.hpp"

#include <string>
#include <vector>

#include "core/run/parallel.hpp"
#include "py/dlpack.hpp"

namespace quatrefoil {
namespace {

[[noreturn]] void reject(const char* name, const char* why) { throw TypeError(std::string(name) + ": " + why); }

View numpy_view(const py::array& a, const char* name) {
  const py::dtype dtype = a.dtype();
  const char order = dtype.byteorder();
  if (order != '=' && order != '|') reject(name, "expected an array in native byte order");
  int code;
  switch (dtype.kind()) {
    case 'f': code = dlpack::kFloat; break;
    case 'c': code = dlpack::kComplex; break;
    case 'i': code = dlpack::kInt; break;
    case 'b': code = dlpack::kBool; break;
    default: reject(name, "unsupported dtype");
  }
  const auto item = std::int64_t(dtype.itemsize());
  View v;
  v.present = true;
  v.dtype = dlpack::dtype_from(code, int(8 * item), name);
  v.data = const_cast<void*>(a.data());
  if (a.ndim() > View::kMaxRank) throw ValueError(std::string(name) + ": too many axes");
  v.rank = int(a.ndim());
  for (int i = 0; i < v.rank; ++i) {
    v.shape[i] = a.shape(i);
    v.stride[i] = a.strides(i) / item;
    if (a.shape(i) > 1 && a.strides(i) % item) throw ValueError(std::string(name) + ": strides must be multiples of the item size");
  }
  return v;
}

View tensor_view(const dlpack::Tensor& t, const char* name) {
  if (t.device.kind != dlpack::kCpu) reject(name, "expected an array in CPU memory");
  return dlpack::view(t, name);
}

View tensor_view(py::handle h, const char* name) {
  if (const dlpack::Tensor* known = dlpack::CallTensors::find(h.ptr())) return tensor_view(*known, name);
  const dlpack::ExchangeApi* api = dlpack::exchange_api(Py_TYPE(h.ptr()));
  if (!api) {  // older torch: a NumPy view of the same memory
    if (!py::hasattr(h, "detach")) reject(name, "expected a NumPy array or a torch tensor");
    return numpy_view(h.attr("detach")().attr("numpy")().cast<py::array>(), name);
  }
  dlpack::Tensor t;
  if (api->tensor_from(h.ptr(), &t)) throw py::error_already_set();
  return tensor_view(t, name);
}

bool aligned(const View& v) {
  const int unit = v.dtype == Dtype::c64 || v.dtype == Dtype::c128 ? item_size(v.dtype) / 2 : item_size(v.dtype);
  return reinterpret_cast<std::uintptr_t>(v.data) % std::uintptr_t(unit) == 0;
}

// A copy by NumPy, which can read unaligned addresses; torch cannot.
py::object copied(const View& v, py::handle h, const char* requirements) {
  const auto item = py::ssize_t(item_size(v.dtype));
  std::vector<py::ssize_t> shape(v.shape, v.shape + v.rank), strides;
  for (int i = 0; i < v.rank; ++i) strides.push_back(v.stride[i] * item);
  const py::array plain(py::dtype(std::string(dtype_name(v.dtype))), shape, strides, v.data, h);
  return py::module_::import("numpy").attr("require")(plain, py::none(), requirements);
}

// bytes: the smallest array that can hold a huge page. Faulting in a huge page takes a tenth of the time of the same memory in small pages.
constexpr std::int64_t kHugePagesFrom = std::int64_t(2) << 20;

}  // namespace

View strided_view(py::handle h, const char* name) {
  return py::isinstance<py::array>(h) ? numpy_view(py::reinterpret_borrow<py::array>(h), name) : tensor_view(h, name);
}

Input::Input(py::handle h, const char* name) {
  if (h.is_none()) return;
  owner_ = py::reinterpret_borrow<py::object>(h);
  static_cast<View&>(*this) = strided_view(owner_, name);
  if (contiguous() && aligned(*this)) return;
  owner_ = py::isinstance<py::array>(h) || !aligned(*this) ? copied(*this, h, "CA") : py::object(h.attr("contiguous")());
  static_cast<View&>(*this) = strided_view(owner_, name);
}

Strided::Strided(py::handle h, const char* name) {
  if (h.is_none()) return;
  owner_ = py::reinterpret_borrow<py::object>(h);
  static_cast<View&>(*this) = strided_view(owner_, name);
  if (aligned(*this)) return;
  owner_ = copied(*this, h, "A");
  static_cast<View&>(*this) = strided_view(owner_, name);
}

Output::Output(py::handle h, const char* name) {
  if (h.is_none()) return;
  if (py::isinstance<py::array>(h) && !py::reinterpret_borrow<py::array>(h).writeable())
    throw ValueError(std::string(name) + " is read-only, expected a writeable array");
  static_cast<View&>(*this) = strided_view(h, name);
  if (!contiguous() || !aligned(*this)) throw ValueError(std::string(name) + ": expected a C-contiguous array");
  const std::int64_t bytes = size() * item_size(dtype);
  if (bytes >= kHugePagesFrom) advise_huge_pages(data, std::size_t(bytes));
}

}  // namespace quatrefoil
