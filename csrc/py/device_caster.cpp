// Replaces caster.cpp for arrays in GPU memory: torch tensors through DLPack's C exchange table, CuPy arrays and older torch tensors
// through __cuda_array_interface__. Neither library is imported here.
#include <cstdlib>

#include "py/caster.hpp"
#include "py/device.hpp"
#include "py/dlpack.hpp"

namespace quatrefoil {
namespace {

thread_local int call_device = 0;  // device of the call in progress

std::string on(int device) { return "cuda:" + std::to_string(device); }

bool has_interface(py::handle h) { return py::hasattr(py::type::handle_of(h), "__cuda_array_interface__"); }

// The device of an array without an exchange table; -1 if it is not on a GPU.
int device_of(py::handle h) {
  if (!has_interface(h) || (py::hasattr(h, "is_cuda") && !h.attr("is_cuda").cast<bool>())) return -1;
  const py::object device = h.attr("device");
  return device.attr(py::hasattr(device, "id") ? "id" : "index").cast<int>();
}

void expect_device(int device, const char* name) {
  if (device < 0) throw TypeError(std::string(name) + ": expected an array in GPU memory");
  if (device != call_device)
    throw TypeError(std::string(name) + " is on " + on(device) + " but the first array is on " + on(call_device) + "; move one of them");
}

// Version 3 of the interface: "<f4", a shape, strides in bytes or None for C order.
View interface_view(py::handle h, const char* name) {
  const py::object detached = py::hasattr(h, "detach") ? h.attr("detach")() : py::reinterpret_borrow<py::object>(h);
  const py::dict interface = detached.attr("__cuda_array_interface__");
  const auto type = interface["typestr"].cast<std::string>();
  const py::tuple shape = interface["shape"];
  if (type.size() < 3 || type[0] == '>') throw TypeError(std::string(name) + ": unsupported dtype");
  if (shape.size() > std::size_t(View::kMaxRank)) throw ValueError(std::string(name) + ": too many axes");
  const int code = type[1] == 'f'   ? dlpack::kFloat
                   : type[1] == 'c' ? dlpack::kComplex
                   : type[1] == 'i' ? dlpack::kInt
                   : type[1] == 'b' ? dlpack::kBool
                                    : -1;
  View v;
  v.present = true;
  v.dtype = dlpack::dtype_from(code, 8 * std::atoi(type.c_str() + 2), name);
  v.data = reinterpret_cast<void*>(py::tuple(interface["data"])[0].cast<std::uintptr_t>());
  v.rank = int(shape.size());
  const bool has_strides = interface.contains("strides") && !interface["strides"].is_none();
  std::int64_t next = 1;
  for (int i = v.rank - 1; i >= 0; --i) {
    v.shape[i] = shape[std::size_t(i)].cast<std::int64_t>();
    v.stride[i] = has_strides ? py::tuple(interface["strides"])[std::size_t(i)].cast<std::int64_t>() / item_size(v.dtype) : next;
    next *= v.shape[i];
  }
  if (v.size() > 0 && !v.data) throw TypeError(std::string(name) + " has no memory");
  return v;
}

// Whether data is aligned to a whole element: kernels load a complex number in one access.
bool aligned(const View& v) { return reinterpret_cast<std::uintptr_t>(v.data) % std::uintptr_t(item_size(v.dtype)) == 0; }

// A copy in C order by the array's own library, in the caller's stream.
py::object copied(py::handle h) {
  if (py::hasattr(h, "clone")) return h.attr("detach")().attr("contiguous")().attr("clone")();
  return h.attr("copy")();
}

}  // namespace

View strided_view(py::handle h, const char* name) {
  dlpack::Tensor t;
  if (has_tensor(h, t)) {
    expect_device(t.device.kind == dlpack::kCuda ? t.device.index : -1, name);
    return dlpack::view(t, name);
  }
  expect_device(device_of(h), name);
  return interface_view(h, name);
}

Input::Input(py::handle h, const char* name) {
  if (h.is_none()) return;
  owner_ = py::reinterpret_borrow<py::object>(h);
  static_cast<View&>(*this) = strided_view(owner_, name);
  if (contiguous() && aligned(*this)) return;
  owner_ = copied(h);
  static_cast<View&>(*this) = strided_view(owner_, name);
}

Strided::Strided(py::handle h, const char* name) {
  if (h.is_none()) return;
  owner_ = py::reinterpret_borrow<py::object>(h);
  static_cast<View&>(*this) = strided_view(owner_, name);
  if (aligned(*this)) return;
  owner_ = copied(h);
  static_cast<View&>(*this) = strided_view(owner_, name);
}

Output::Output(py::handle h, const char* name) {
  if (h.is_none()) return;
  static_cast<View&>(*this) = strided_view(h, name);
  if (!contiguous() || !aligned(*this)) throw ValueError(std::string(name) + ": expected a C-contiguous array");
}

namespace {

// The current stream of the array's library, so that our work follows the library's.
void* stream_of(py::handle h, int device) {
  const dlpack::ExchangeApi* api = dlpack::exchange_api(Py_TYPE(h.ptr()));
  if (api && api->current_stream) {
    void* stream = nullptr;
    if (api->current_stream(dlpack::kCuda, device, &stream)) throw py::error_already_set();
    return stream;
  }
  const bool is_torch = py::hasattr(h, "detach");
  const py::module_ cuda = py::module_::import(is_torch ? "torch.cuda" : "cupy.cuda");  // already imported, since such an array exists
  const py::object stream = cuda.attr(is_torch ? "current_stream" : "get_current_stream")(device);
  return reinterpret_cast<void*>(stream.attr(is_torch ? "cuda_stream" : "ptr").cast<std::uintptr_t>());
}

}  // namespace

OnDevice enter_device(const std::string& function, py::handle first) {
  if (first.is_none()) throw TypeError(function + ": expected an array in GPU memory");
  dlpack::Tensor t;
  const int device = has_tensor(first, t) ? (t.device.kind == dlpack::kCuda ? t.device.index : -1) : device_of(first);
  if (device < 0)
    throw TypeError(function + ": the first array is " + Py_TYPE(first.ptr())->tp_name +
                    " in host memory, expected an array in GPU memory");
  call_device = device;
  return OnDevice(device, stream_of(first, device), function);
}

}  // namespace quatrefoil
