// The device of a call on arrays in GPU memory: the device of the first array, with the caller's stream. Temporary
// memory comes from the allocator of that array's library, which can thus count and reuse it.
#pragma once
#include <pybind11/pybind11.h>

#include <string>

#include "core/cuda/device.hpp"
#include "py/dlpack.hpp"

namespace quatrefoil {
namespace py = pybind11;

class CallDevice {
 public:
  // The first `arrays` arguments are arrays, lists of arrays or None. TypeError if the first array is not on a GPU.
  CallDevice(const std::string& function, const py::tuple& args, std::size_t arrays);
  ~CallDevice();
  static py::handle first_array();  // of the call in progress on this thread

 private:
  py::object first_;
  py::handle first_before_;
  OnDevice on_;
};

// The device and the current stream of a call's first array.
OnDevice enter_device(const std::string& function, py::handle first);

// Reads an array's tensor through the exchange table of its type; false if the type has no table.
bool has_tensor(py::handle array, dlpack::Tensor& to);

// Runs kernel(args) without launching anything, and returns the bytes of temporary memory that it needs.
template <class Kernel, class Args>
std::size_t measured(Kernel&& kernel, const Args& args) {
  struct Measure {
    Measure() { call_memory.measure(true); }
    ~Measure() { call_memory.measure(false); }
  } const measure;
  static_cast<void>(kernel(args));
  return call_memory.bytes();
}

// The temporary memory of the call in progress, while it launches. Its memory is reused in stream order.
class CallBlock {
 public:
  explicit CallBlock(std::size_t bytes);
  ~CallBlock();
  CallBlock(const CallBlock&) = delete;
  CallBlock& operator=(const CallBlock&) = delete;

 private:
  void* allocate(std::size_t bytes);

  dlpack::ManagedTensor* tensor_ = nullptr;  // at most one of these three owns memory
  py::object owner_;
  void* own_ = nullptr;
};

}  // namespace quatrefoil
