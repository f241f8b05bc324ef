// Asynchronous kernel launches in the stream of the call in progress. The array library reuses the memory of arrays in stream order.
#pragma once
#include "core/cuda/device.hpp"
#include "core/cuda/simt.hpp"
#include "core/lanes/hd.hpp"

namespace quatrefoil {

extern thread_local cudaStream_t call_stream;  // set by OnDevice

void check(cudaError_t);  // throws DeviceError

inline namespace QF_ISA {

// The emulator uses small limits, so that tests exceed them.
#if defined(QF_EMULATOR)
constexpr bool kEmulated = true;
#else
constexpr bool kEmulated = false;
#endif
// The maximum number of blocks in a grid, along x only; kernels loop over the rest with a grid stride.
constexpr int64_t kMaxBlocks = kEmulated ? 3 : 0x7fffffff;
constexpr int64_t kBusyBlocks = 4 * 132;          // enough for an H100 (estimated); constant, so that results do not depend on the GPU
constexpr int64_t kTooMany = int64_t(1) << 31;    // launches must have fewer blocks
constexpr std::size_t kDefaultShared = 48 << 10;  // bytes of shared memory that a kernel may use without setting an attribute
constexpr std::size_t kMaxShared = 99 << 10;      // bytes per block; compute capabilities 8.6, 8.9 and 12.0 have no more, others do

// Launches kernel<<<blocks, threads>>>(arguments...) with `shared` bytes of shared memory. Does nothing for 0 blocks; while a call is being
// measured, only checks the sizes.
template <class... P, class... A>
void launch(void (*kernel)(P...), int64_t blocks, int threads, std::size_t shared, const A&... arguments) {
  if (blocks == 0) return;
  if (blocks >= kTooMany) throw DeviceError("arrays are too large: a kernel launch must have fewer than 2^31 blocks");
  if (shared > kMaxShared)
    throw DeviceError("these sizes need " + std::to_string(shared >> 10) +
                      " KB of shared memory, but a block has at most 99 KB; use backend 'array'");
  if (call_memory.is_measuring()) return;
  if (shared > kDefaultShared)
    check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared)));
  const dim3 grid(unsigned(min(blocks, kMaxBlocks)));
#if defined(QF_EMULATOR)
  emulator::launch(grid, dim3(unsigned(threads)), shared, [&] { kernel(arguments...); });
#else
  // clang-format off: it would split <<<
  kernel<<<grid, dim3(unsigned(threads)), shared, call_stream>>>(arguments...);
  // clang-format on
#endif
  check(cudaGetLastError());
}

// a / b and a % b for values below 2^32, such as numbers of blocks. Each 64-bit division takes 1 KB of code, the first one 2 KB.
__device__ __forceinline__ int64_t quotient(int64_t a, int64_t b) { return std::uint32_t(a) / std::uint32_t(b); }
__device__ __forceinline__ int64_t remainder(int64_t a, int64_t b) { return std::uint32_t(a) % std::uint32_t(b); }

// Sets every byte of n elements to `byte`; `to` may be null.
template <class T>
void set_bytes(T* to, int64_t n, int byte) {
  if (to && n > 0 && !call_memory.is_measuring()) check(cudaMemsetAsync(to, byte, std::size_t(n) * sizeof(T), call_stream));
}
template <class T>
void set_zero(T* to, int64_t n) {
  set_bytes(to, n, 0);
}

}  // namespace QF_ISA
}  // namespace quatrefoil
