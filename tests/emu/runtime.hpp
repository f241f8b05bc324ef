// The CUDA runtime for the emulator: the functions that the library calls, on host memory, and records of these calls for tests.
#pragma once
#include <cstring>
#include <new>
#include <set>

using cudaStream_t = void*;
using cudaMemPool_t = int;
enum cudaError_t { cudaSuccess, cudaErrorMemoryAllocation, cudaErrorIllegalAddress };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
enum cudaDeviceAttr { cudaDevAttrComputeCapabilityMajor, cudaDevAttrComputeCapabilityMinor };
enum cudaMemPoolAttr { cudaMemPoolAttrReleaseThreshold };
enum cudaDriverEntryPointQueryResult { cudaDriverEntryPointSuccess };
enum { cudaEnableDefault };
struct cudaDeviceProp {
  char name[16];
};

namespace quatrefoil::emulator {

struct Runtime {
  int device = 0;
  std::set<int> contexts{0};         // devices with a primary context
  int allocations = 0;               // from the pool
  unsigned long long threshold = 0;  // of the pool
  cudaError_t error = cudaSuccess;   // the last one
};
inline Runtime runtime;

inline int context_state(int device, unsigned*, int* active) { return *active = int(runtime.contexts.count(device)), 0; }

}  // namespace quatrefoil::emulator

inline const char* cudaGetErrorName(cudaError_t error) {
  return error == cudaErrorMemoryAllocation ? "cudaErrorMemoryAllocation" : "cudaErrorIllegalAddress";
}
inline const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorMemoryAllocation ? "out of memory" : "an illegal memory access was encountered";
}
inline cudaError_t cudaGetLastError() {
  const cudaError_t error = quatrefoil::emulator::runtime.error;
  quatrefoil::emulator::runtime.error = cudaSuccess;
  return error;
}
inline cudaError_t cudaGetDeviceCount(int* n) { return *n = 1, cudaSuccess; }
inline cudaError_t cudaGetDevice(int* at) { return *at = quatrefoil::emulator::runtime.device, cudaSuccess; }
inline cudaError_t cudaSetDevice(int at) {
  quatrefoil::emulator::runtime.device = at;
  quatrefoil::emulator::runtime.contexts.insert(at);  // as CUDA 12 does
  return cudaSuccess;
}
inline cudaError_t cudaGetDriverEntryPointByVersion(const char*, void** found, unsigned, int, cudaDriverEntryPointQueryResult*) {
  return *found = reinterpret_cast<void*>(&quatrefoil::emulator::context_state), cudaSuccess;
}
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int) { return *p = {"the emulator"}, cudaSuccess; }
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) { return *value = 0, cudaSuccess; }
inline cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) { return cudaSuccess; }

inline cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int device) { return *pool = device, cudaSuccess; }
inline cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t, cudaMemPoolAttr, unsigned long long* value) {
  return *value = quatrefoil::emulator::runtime.threshold, cudaSuccess;
}
inline cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, unsigned long long* value) {
  return quatrefoil::emulator::runtime.threshold = *value, cudaSuccess;
}
inline cudaError_t cudaMallocAsync(void** data, std::size_t bytes, cudaStream_t) {
  ++quatrefoil::emulator::runtime.allocations;
  *data = ::operator new(bytes, std::nothrow);
  return *data ? cudaSuccess : cudaErrorMemoryAllocation;
}
inline cudaError_t cudaFreeAsync(void* data, cudaStream_t) { return ::operator delete(data), cudaSuccess; }
inline cudaError_t cudaMemsetAsync(void* data, int byte, std::size_t bytes, cudaStream_t) {
  return std::memset(data, byte, bytes), cudaSuccess;
}
