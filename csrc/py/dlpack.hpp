// Reads DLPack's C exchange table from a tensor's type, so that torch tensors need neither torch's headers nor its libraries.
#pragma once
#include <pybind11/pybind11.h>

#include <cstdint>

#include "core/host/view.hpp"

namespace quatrefoil {

// The parts of DLPack 1.x's C ABI that are used here.
namespace dlpack {
struct Device {
  std::int32_t kind, index;
};
struct DataType {
  std::uint8_t code, bits;
  std::uint16_t lanes;
};
struct Tensor {
  void* data;
  Device device;
  std::int32_t ndim;
  DataType dtype;
  std::int64_t *shape, *strides;
  std::uint64_t byte_offset;
};
struct Version {
  std::uint32_t major, minor;
};
struct ManagedTensor {
  Version version;
  void* manager;
  void (*deleter)(ManagedTensor*);
  std::uint64_t flags;
  Tensor tensor;
};
struct ExchangeApi {
  struct {
    Version version;
    void* previous;
  } header;
  int (*allocate)(Tensor* prototype, ManagedTensor** out, void* context,
                  void (*explain)(void* context, const char* kind, const char* what));
  void *managed_from, *managed_to;
  int (*tensor_from)(void* object, Tensor* out);  // borrowed: valid while the object lives and is not resized
  int (*current_stream)(std::int32_t kind, std::int32_t index, void** out);
};
enum { kInt = 0, kUInt = 1, kFloat = 2, kComplex = 5, kBool = 6, kCpu = 1, kCuda = 2 };

// The dtype of an array; TypeError with the argument's name for dtypes that kernels do not take.
Dtype dtype_from(int code, int bits, const char* name);
View view(const Tensor&, const char* name);

// The exchange table of a type, looked up once per type; null if the type has no table, or one of an unknown version.
const ExchangeApi* exchange_api(PyTypeObject* type);

// The tensors of the call in progress on this thread. The entry point has read them, so the bindings need not read them again. The caller
// owns the tensors during the call; calls nest.
class CallTensors {
 public:
  CallTensors() : outer_(current) { current = this; }
  ~CallTensors() { current = outer_; }
  CallTensors(const CallTensors&) = delete;
  CallTensors& operator=(const CallTensors&) = delete;
  void add(PyObject* object, const Tensor& tensor) {
    if (count_ < kRoom) objects_[count_] = object, tensors_[count_++] = tensor;
  }
  static const Tensor* find(PyObject* object) {
    if (current)
      for (int i = 0; i < current->count_; ++i)
        if (current->objects_[i] == object) return &current->tensors_[i];
    return nullptr;
  }

 private:
  static constexpr int kRoom = 16;
  static thread_local CallTensors* current;
  CallTensors* outer_;
  int count_ = 0;
  PyObject* objects_[kRoom];
  Tensor tensors_[kRoom];
};

}  // namespace dlpack
}  // namespace quatrefoil
