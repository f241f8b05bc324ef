#include "core/cuda/device.hpp"
#include "core/cuda/launch.hpp"

namespace quatrefoil {

thread_local cudaStream_t call_stream = nullptr;

void check(cudaError_t error) {
  if (error == cudaSuccess) return;
  static_cast<void>(cudaGetLastError());  // clears it
  const std::string what = std::string(cudaGetErrorName(error)) + ": " + cudaGetErrorString(error);
  if (error == cudaErrorMemoryAllocation) throw DeviceMemoryError(what);
  throw DeviceError(what);
}

int device_count() {
  int n = 0;
  return cudaGetDeviceCount(&n) == cudaSuccess ? n : 0;
}

std::string why_no_device() {
  int n = 0;
  const cudaError_t error = cudaGetDeviceCount(&n);
  if (error != cudaSuccess) return std::string(cudaGetErrorName(error)) + ": " + cudaGetErrorString(error);
  return n ? "" : "this machine has no device";
}

std::string device_name(int at) {
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, at));
  return std::string(properties.name) + " (sm_" + std::to_string(properties.major) + std::to_string(properties.minor) + ")";
}

OnDevice::OnDevice(int device, void* stream) : stream_before_(call_stream) {
  check(cudaGetDevice(&device_before_));
  if (device != device_before_) check(cudaSetDevice(device));
  call_stream = static_cast<cudaStream_t>(stream);
}

OnDevice::~OnDevice() {
  call_stream = static_cast<cudaStream_t>(stream_before_);
  static_cast<void>(cudaSetDevice(device_before_));
}

}  // namespace quatrefoil
