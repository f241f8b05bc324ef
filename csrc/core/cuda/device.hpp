// The GPUs of this machine, and the call in progress: its device and its temporary memory. Plain C++: the bindings see no CUDA.
#pragma once
#include <cstddef>
#include <stdexcept>
#include <string>

namespace quatrefoil {

struct DeviceError : std::runtime_error {  // RuntimeError in Python
  using std::runtime_error::runtime_error;
};
struct DeviceMemoryError : DeviceError {  // MemoryError
  using DeviceError::DeviceError;
};

int device_count();               // 0 without a device or driver
std::string why_no_device();      // "" if there is one
std::string device_name(int at);  // "NVIDIA H100"
int capability(int at);           // 90 for compute capability 9.0

// During its lifetime kernels of this thread run on that device, in that stream (of type cudaStream_t). Errors name the function.
class OnDevice {
 public:
  OnDevice(int device, void* stream, const std::string& function);
  ~OnDevice();
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  int device_before_, device_;
  void* stream_before_;
  const std::string* function_before_;
};

// The temporary memory of a call: one block, in which workspaces follow one another as on a stack. The host's part of a call runs twice.
// The first time it launches nothing and measures the block.
class CallMemory {
 public:
  void* push(std::size_t bytes);
  void pop(std::size_t bytes);
  bool is_measuring() const { return is_measuring_; }

  void measure(bool on);
  std::size_t bytes() const { return most_; }
  void use(void* block);

 private:
  bool is_measuring_ = false;
  unsigned char* block_ = nullptr;
  std::size_t used_ = 0, most_ = 0;
};
extern thread_local CallMemory call_memory;

// Memory in the order of the call's stream, for arrays whose library has no allocator.
void* allocate_in_stream(std::size_t bytes);
void free_in_stream(void* data);

}  // namespace quatrefoil
