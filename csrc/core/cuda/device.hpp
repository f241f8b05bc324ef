// The GPUs of this machine, and the device and temporary memory of the call in progress. Plain C++: the bindings need no CUDA headers.
#pragma once
#include <cstddef>
#include <stdexcept>
#include <string>

namespace quatrefoil {

struct DeviceError : std::runtime_error {  // a RuntimeError in Python
  using std::runtime_error::runtime_error;
};
struct DeviceMemoryError : DeviceError {  // a MemoryError in Python
  using DeviceError::DeviceError;
};

int device_count();               // 0 without a device or driver
std::string why_no_device();      // "" if there is a device
std::string device_name(int at);  // "NVIDIA H100"
int capability(int at);           // 90 for compute capability 9.0

// During the lifetime of this object, this thread launches kernels on `device`, in `stream` (a cudaStream_t). Errors name `function`.
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

// The temporary memory of a call: one block, used as a stack of workspaces. The host code of a call runs twice. The first run launches
// nothing and measures the size of the block.
class CallMemory {
 public:
  void* push(std::size_t bytes);
  void pop(std::size_t bytes);
  bool is_measuring() const { return is_measuring_; }

  void measure(bool on);
  std::size_t bytes() const { return peak_; }
  void use(void* block);

 private:
  bool is_measuring_ = false;
  unsigned char* block_ = nullptr;
  std::size_t used_ = 0, peak_ = 0;
};
extern thread_local CallMemory call_memory;

// Stream-ordered allocation, for arrays whose library has no allocator.
void* allocate_in_stream(std::size_t bytes);
void free_in_stream(void* data);

}  // namespace quatrefoil
