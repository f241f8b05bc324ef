// The GPUs of this machine, and where the call in progress runs. Plain C++: the bindings see no CUDA.
#pragma once
#include <stdexcept>
#include <string>

namespace quatrefoil {

struct DeviceError : std::runtime_error {  // RuntimeError in Python
  using std::runtime_error::runtime_error;
};
struct DeviceMemoryError : DeviceError {  // MemoryError
  using DeviceError::DeviceError;
};

int device_count();               // 0 where there is none, or no driver
std::string why_no_device();      // "" where there is one
std::string device_name(int at);  // with its architecture: "NVIDIA H100 (sm_90)"

// While it lives, kernels of this thread run on that device, in that stream (of type cudaStream_t).
class OnDevice {
 public:
  OnDevice(int device, void* stream);
  ~OnDevice();
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  int device_before_;
  void* stream_before_;
};

}  // namespace quatrefoil
