// Packed sequences, with boundaries given by cu_seqlens.
#pragma once
#include "core/cuda/launch.hpp"
#include "core/cuda/shared.hpp"

namespace quatrefoil {
inline namespace QF_ISA {

constexpr int kCutThreads = 256;

// Counts the invalid entries of cu_seqlens, which must ascend from 0 to `length`. Runs in one block.
static __global__ void __launch_bounds__(kCutThreads, 1)
    count_wrong(const int64_t* cuts, const int64_t sequences, const int64_t length, int* wrong) {
  QF_SHARED(int, of_warps);
  int mine = threadIdx.x == 0 && (cuts[0] != 0 || cuts[sequences] != length);
  QF_ROLLED
  for (int64_t n = threadIdx.x; n < sequences; n += kCutThreads) mine += cuts[n] > cuts[n + 1];
  mine = sum_of_lanes(mine);
  if (threadIdx.x % kWarp == 0) of_warps[threadIdx.x / kWarp] = mine;
  __syncthreads();
  if (threadIdx.x != 0) return;
  int all = 0;
  QF_ROLLED
  for (int w = 0; w < kCutThreads / kWarp; ++w) all += of_warps[w];
  *wrong = all;
}
inline void check_cuts(const int64_t* cuts, int64_t sequences, int64_t length, int* wrong) {
  launch(count_wrong, 1, kCutThreads, kCutThreads / kWarp * sizeof(int), cuts, sequences, length, wrong);
}

// Index of the last of n sequences that begin at or before `position`; 0 if all begin later. first(i) must not decrease.
template <class F>
__device__ __forceinline__ int64_t sequence_at(int64_t position, int64_t n, F first) {
  int64_t low = 0;
  QF_ROLLED
  for (int64_t high = n; high - low > 1;) {
    const int64_t middle = (low + high) / 2;
    (first(middle) <= position ? low : high) = middle;
  }
  return low;
}

}  // namespace QF_ISA
}  // namespace quatrefoil
