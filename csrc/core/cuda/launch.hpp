// Kernel launches in the stream of the call in progress. They return at once; the call's framework reuses the memory of arrays in the order
// of the stream.
#pragma once
#include "core/cuda/device.hpp"
#include "core/cuda/simt.hpp"
#include "core/lanes/hd.hpp"

namespace quatrefoil {

extern thread_local cudaStream_t call_stream;  // set by OnDevice

void check(cudaError_t);  // throws DeviceError

inline namespace QF_ISA {

// The emulator has small limits, so that tests exceed them.
#if defined(QF_EMULATOR)
constexpr bool kEmulated = true;
#else
constexpr bool kEmulated = false;
#endif
// Blocks of a grid, along x alone; kernels stride over the rest.
constexpr int64_t kMostBlocks = kEmulated ? 3 : 0x7fffffff;
constexpr int64_t kBusyBlocks = 4 * 132;          // for an H100: estimated; a constant, so that bits do not depend on the card
constexpr int64_t kTooMany = int64_t(1) << 31;    // an upper limit of blocks
constexpr std::size_t kDefaultShared = 48 << 10;  // bytes of shared memory that a kernel gets without an attribute

// kernel<<<blocks, threads>>>(arguments...), with `shared` bytes of shared memory; no launch for 0 blocks.
template <class... P, class... A>
void launch(void (*kernel)(P...), int64_t blocks, int threads, std::size_t shared, const A&... arguments) {
  if (blocks == 0) return;
  if (blocks >= kTooMany) throw DeviceError("arrays are too large: a GPU takes less than 2^31 blocks of threads in a call");
  if (shared > kDefaultShared)
    check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared)));
  const dim3 grid(unsigned(min(blocks, kMostBlocks)));
#if defined(QF_EMULATOR)
  emulator::launch(grid, dim3(unsigned(threads)), shared, [&] { kernel(arguments...); });
#else
  // clang-format off: it takes <<< apart
  kernel<<<grid, dim3(unsigned(threads)), shared, call_stream>>>(arguments...);
  // clang-format on
#endif
  check(cudaGetLastError());
}

// a / b and a % b of numbers below 2^32, such as numbers of blocks: a division of 64 bits takes 1 KB of code, the first one 2 KB.
__device__ __forceinline__ int64_t quotient(int64_t a, int64_t b) { return std::uint32_t(a) / std::uint32_t(b); }
__device__ __forceinline__ int64_t remainder(int64_t a, int64_t b) { return std::uint32_t(a) % std::uint32_t(b); }

constexpr int kZeroThreads = 256;
template <class T>
__global__ void __launch_bounds__(kZeroThreads, 1) put_zeros(T* to, const int64_t n) {
  QF_ROLLED
  for (int64_t i = int64_t(blockIdx.x) * kZeroThreads + threadIdx.x; i < n; i += int64_t(gridDim.x) * kZeroThreads) to[i] = T(0);
}
template <class T>
void set_zero(T* to, int64_t n) {  // to may be null
  if (to) launch(put_zeros<T>, (n + kZeroThreads - 1) / kZeroThreads, kZeroThreads, 0, to, n);
}

}  // namespace QF_ISA
}  // namespace quatrefoil
