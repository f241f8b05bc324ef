// Launches of kernels, in the stream of the call in progress. They return at once; what they are given stays alive as long as the arrays of
// that call, whose framework reuses memory in the order of the stream.
#pragma once
#include "core/cuda/device.hpp"
#include "core/cuda/simt.hpp"
#include "core/lanes/hd.hpp"

namespace quatrefoil {

extern thread_local cudaStream_t call_stream;  // set by OnDevice

void check(cudaError_t);  // throws DeviceError

inline namespace QF_ISA {

// Under the emulator limits are small, so that what must be done where they are met is done in tests.
#if defined(QF_EMULATOR)
constexpr bool kEmulated = true;
#else
constexpr bool kEmulated = false;
#endif
// Blocks of a grid, whose first axis alone is in use here: kernels stride over what is left.
constexpr int64_t kMostBlocks = kEmulated ? 3 : 0x7fffffff;
constexpr int64_t kBusyBlocks =
    4 * 132;  // that keep an H100 busy: estimated, not measured; a constant, so that bits do not depend on the card
constexpr int64_t kTooMany = int64_t(1) << 31;    // blocks, of which there are less
constexpr std::size_t kUnaskedShared = 48 << 10;  // bytes of shared memory that a kernel gets without asking

// kernel<<<blocks, threads>>>(arguments...), with `shared` bytes of shared memory; nothing where there are no blocks.
template <class... P, class... A>
void launch(void (*kernel)(P...), int64_t blocks, int threads, std::size_t shared, const A&... arguments) {
  if (blocks == 0) return;
  if (blocks >= kTooMany) throw DeviceError("arrays are too large: a GPU takes less than 2^31 blocks of threads in a call");
  if (shared > kUnaskedShared)
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

// a / b and a % b of numbers below 2^32, as numbers of blocks are: a division of 64 bits takes 1 KB of a kernel, and the first one 1 KB
// more.
__device__ __forceinline__ int64_t quotient(int64_t a, int64_t b) { return std::uint32_t(a) / std::uint32_t(b); }
__device__ __forceinline__ int64_t remainder(int64_t a, int64_t b) { return std::uint32_t(a) % std::uint32_t(b); }

constexpr int kZeroThreads = 256;
template <class T>
__global__ void __launch_bounds__(kZeroThreads, 1) put_zeros(T* to, const int64_t n) {
  QF_ROLLED
  for (int64_t i = int64_t(blockIdx.x) * kZeroThreads + threadIdx.x; i < n; i += int64_t(gridDim.x) * kZeroThreads) to[i] = T(0);
}
// Nothing where there is no array.
template <class T>
void set_zero(T* to, int64_t n) {
  if (to) launch(put_zeros<T>, (n + kZeroThreads - 1) / kZeroThreads, kZeroThreads, 0, to, n);
}

}  // namespace QF_ISA
}  // namespace quatrefoil
