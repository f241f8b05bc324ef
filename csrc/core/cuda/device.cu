#include "core/cuda/device.hpp"
#include "core/cuda/launch.hpp"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace quatrefoil {

thread_local cudaStream_t call_stream = nullptr;
thread_local CallMemory call_memory;

namespace {

thread_local const std::string* call_function = nullptr;

constexpr std::size_t kAlignment = 256;
constexpr std::size_t kGap = kEmulated ? kAlignment : 0;  // between workspaces, so that a sanitizer detects accesses past the end
constexpr unsigned long long kKeptBytes = 512ull << 20;   // the pool retains up to this much at a synchronisation; its default is 0

std::size_t padded_size(std::size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment + kGap; }

// In the emulator: lets the sanitizer accept accesses to these bytes, and fills them with NaN.
void open([[maybe_unused]] void* data, [[maybe_unused]] std::size_t bytes) {
#if defined(QF_EMULATOR)
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(data, bytes);
#endif
  std::memset(data, 0xff, bytes);
#endif
}
void close([[maybe_unused]] void* data, [[maybe_unused]] std::size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_poison_memory_region(data, bytes);
#endif
}

std::string text_of(cudaError_t error) { return std::string(cudaGetErrorName(error)) + ": " + cudaGetErrorString(error); }

// Whether a device has a primary context. cudaSetDevice creates one, which takes hundreds of megabytes of device memory.
bool has_context(int device) {
  using GetState = int (*)(int device, unsigned* flags, int* active);
  static const GetState get_state = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult result;
    constexpr unsigned since = 7000;  // the first CUDA version with this function
    if (cudaGetDriverEntryPointByVersion("cuDevicePrimaryCtxGetState", &function, since, cudaEnableDefault, &result) != cudaSuccess)
      function = nullptr;
    return reinterpret_cast<GetState>(function);
  }();
  unsigned flags = 0;
  int active = 0;
  return get_state && get_state(device, &flags, &active) == 0 && active;
}

}  // namespace

void check(cudaError_t error) {
  if (error == cudaSuccess) return;
  static_cast<void>(cudaGetLastError());  // clears the error
  const std::string what = (call_function ? *call_function + ": " : "") + text_of(error);
  if (error == cudaErrorMemoryAllocation) throw DeviceMemoryError(what);
  throw DeviceError(
      what + "; devices report errors late, so an earlier kernel of any library may be the cause: CUDA_LAUNCH_BLOCKING=1 shows which one");
}

int device_count() {
  int n = 0;
  return cudaGetDeviceCount(&n) == cudaSuccess ? n : 0;
}

std::string why_no_device() {
  int n = 0;
  const cudaError_t error = cudaGetDeviceCount(&n);
  if (error != cudaSuccess) return text_of(error);
  return n ? "" : "this machine has no GPU";
}

std::string device_name(int at) {
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, at));
  return properties.name;
}

int capability(int at) {  // reading attributes needs no context
  int major = 0, minor = 0;
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, at));
  check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, at));
  return 10 * major + minor;
}

OnDevice::OnDevice(int device, void* stream, const std::string& function)
    : device_(device), stream_before_(call_stream), function_before_(call_function) {
  check(cudaGetDevice(&device_before_));
  if (device != device_before_) check(cudaSetDevice(device));
  call_stream = static_cast<cudaStream_t>(stream);
  call_function = &function;
}

OnDevice::~OnDevice() {
  call_stream = static_cast<cudaStream_t>(stream_before_);
  call_function = function_before_;
  if (device_ != device_before_ && has_context(device_before_)) static_cast<void>(cudaSetDevice(device_before_));
}

void CallMemory::measure(bool on) {
  is_measuring_ = on;
  if (on) peak_ = 0;
}

void CallMemory::use(void* block) {
  if (block_ && !block) open(block_, peak_);  // because the allocator that owns the block may reuse it
  block_ = static_cast<unsigned char*>(block);
  if (block_) close(block_, peak_);
}

void* CallMemory::push(std::size_t bytes) {
  const std::size_t at = used_;
  used_ += padded_size(bytes);
  if (is_measuring_) {
    if (used_ > peak_) peak_ = used_;
    return reinterpret_cast<void*>(kAlignment + at);  // not null, never dereferenced
  }
  if (used_ > peak_) throw DeviceError("a call needs more temporary memory than was measured for it");
  open(block_ + at, bytes);
  return block_ + at;
}

void CallMemory::pop(std::size_t bytes) {
  used_ -= padded_size(bytes);
  if (!is_measuring_) close(block_ + used_, bytes);
}

void* allocate_in_stream(std::size_t bytes) {
  int device = 0;
  check(cudaGetDevice(&device));
  cudaMemPool_t pool;
  unsigned long long threshold = 0;
  check(cudaDeviceGetDefaultMemPool(&pool, device));
  check(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &threshold));
  if (threshold == 0) {
    threshold = kKeptBytes;
    check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &threshold));
  }
  void* data = nullptr;
  check(cudaMallocAsync(&data, bytes, call_stream));
  return data;
}

void free_in_stream(void* data) {
  if (cudaFreeAsync(data, call_stream) != cudaSuccess) static_cast<void>(cudaGetLastError());  // otherwise the next launch would report it
}

}  // namespace quatrefoil
