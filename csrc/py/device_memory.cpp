#include <algorithm>

#include "py/device.hpp"

namespace quatrefoil {
namespace {

thread_local py::handle call_first;

py::object first_of(const py::tuple& args, std::size_t count) {
  for (std::size_t i = 0; i < std::min(count, args.size()); ++i) {
    const py::object item = args[i];
    const bool is_list = py::isinstance<py::list>(item) || py::isinstance<py::tuple>(item);
    const py::object first = is_list ? first_of(py::tuple(item), py::len(item)) : item;
    if (!first.is_none()) return first;
  }
  return py::none();
}

// Allocates with the allocator in the type's exchange table.
dlpack::ManagedTensor* new_tensor(const dlpack::ExchangeApi& api, dlpack::Device device, std::size_t bytes) {
  auto size = std::int64_t(bytes);
  dlpack::Tensor prototype{nullptr, device, 1, {dlpack::kUInt, 8, 1}, &size, nullptr, 0};
  dlpack::ManagedTensor* tensor = nullptr;
  std::string why;
  const auto explain = [](void* to, const char*, const char* message) { *static_cast<std::string*>(to) = message; };
  if (api.allocate(&prototype, &tensor, &why, explain)) throw DeviceMemoryError(why);
  return tensor;
}

}  // namespace

bool has_tensor(py::handle array, dlpack::Tensor& to) {
  const dlpack::ExchangeApi* const api = dlpack::exchange_api(Py_TYPE(array.ptr()));
  if (!api) return false;
  if (api->tensor_from(array.ptr(), &to)) throw py::error_already_set();
  return true;
}

CallDevice::CallDevice(const std::string& function, const py::tuple& args, std::size_t arrays)
    : first_(first_of(args, arrays)), first_before_(call_first), on_(enter_device(function, first_)) {
  call_first = first_;
}
CallDevice::~CallDevice() { call_first = first_before_; }
py::handle CallDevice::first_array() { return call_first; }

CallBlock::CallBlock(std::size_t bytes) {
  if (bytes) call_memory.use(allocate(bytes));
}

CallBlock::~CallBlock() {
  call_memory.use(nullptr);
  if (tensor_) tensor_->deleter(tensor_);
  if (own_) free_in_stream(own_);
}

void* CallBlock::allocate(std::size_t bytes) {
  const py::handle first = CallDevice::first_array();
  dlpack::Tensor like;
  if (has_tensor(first, like)) {
    tensor_ = new_tensor(*dlpack::exchange_api(Py_TYPE(first.ptr())), like.device, bytes);
    return static_cast<char*>(tensor_->tensor.data) + tensor_->tensor.byte_offset;
  }
  if (py::hasattr(first, "new_empty")) {  // an older torch
    owner_ = first.attr("new_empty")(bytes, py::arg("dtype") = py::module_::import("torch").attr("uint8"));
    return reinterpret_cast<void*>(owner_.attr("data_ptr")().cast<std::uintptr_t>());
  }
  if (py::hasattr(py::type::handle_of(first), "__cuda_array_interface__")) {  // CuPy
    owner_ = py::module_::import("cupy.cuda").attr("alloc")(bytes);
    return reinterpret_cast<void*>(owner_.attr("ptr").cast<std::uintptr_t>());
  }
  return own_ = allocate_in_stream(bytes);
}

}  // namespace quatrefoil
