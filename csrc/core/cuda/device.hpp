// The GPUs of this machine, and the device of the call in progress. Plain C++: the bindings see no CUDA.
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

int device_count();               // 0 without a device or driver
std::string why_no_device();      // "" if there is one
std::string device_name(int at);  // with its architecture: "NVIDIA H100 (sm_90)"

// During its lifetime kernels of this thread run on that device, in that stream (of type cudaStream_t).
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
