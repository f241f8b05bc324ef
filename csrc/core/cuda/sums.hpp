// Sums of the partial results of blocks, in a fixed order and in double precision, so that results are bitwise reproducible.
#pragma once
#include "core/cuda/launch.hpp"
#include "core/lanes/cplx.hpp"

namespace quatrefoil {
inline namespace QF_ISA {

__device__ __forceinline__ double wide(double x) { return x; }
template <class T>
__device__ __forceinline__ cplx<double> wide(cplx<T> x) {
  return {double(x.re), double(x.im)};
}
template <class T>
__device__ __forceinline__ void put_narrow(double x, T& to) {
  to = T(x);
}
template <class T>
__device__ __forceinline__ void put_narrow(cplx<double> x, cplx<T>& to) {
  to = {T(x.re), T(x.im)};
}

constexpr int kSumThreads = 256;

// Sums `parts` (outer, count, inner) over the middle axis, in order, into `to` (outer, inner). One thread per element of `to`.
template <class E>
__global__ void __launch_bounds__(kSumThreads, 1)
    add_all_parts(const int64_t outer, const int64_t count, const int64_t inner, const E* parts, E* to) {
  QF_ROLLED
  for (int64_t at = int64_t(blockIdx.x) * kSumThreads + threadIdx.x; at < outer * inner; at += int64_t(gridDim.x) * kSumThreads) {
    auto sum = decltype(wide(E{})){};
    for (int64_t k = 0; k < count; ++k) sum = sum + wide(parts[(at / inner * count + k) * inner + at % inner]);
    put_narrow(sum, to[at]);
  }
}
template <class E>
void add_up(int64_t outer, int64_t count, int64_t inner, const E* parts, E* to) {  // to may be null
  if (to) launch(add_all_parts<E>, (outer * inner + kSumThreads - 1) / kSumThreads, kSumThreads, 0, outer, count, inner, parts, to);
}

}  // namespace QF_ISA
}  // namespace quatrefoil
