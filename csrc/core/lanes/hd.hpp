// Macros and constants that depend on the compiler and the instruction set.
#pragma once
#include <cstddef>
#include <cstdint>

#if defined(__CUDACC__)  // V is a single number: no lanes, no intrinsics
#define QF_HD __host__ __device__ __forceinline__
#define QF_BOTH __host__ __device__ inline  // inlined at the compiler's discretion
#define QF_KERNEL __device__ inline         // for functions that call code passed by a kernel, which is device code
#if defined(__CUDA_ARCH__)
#define QF_UNROLL(n) QF_PRAGMA(unroll n)
#define QF_ROLLED QF_PRAGMA(unroll 1)  // a loop that should not be unrolled on a GPU
#else
#define QF_UNROLL(n)
#define QF_ROLLED
#endif
#else
#define QF_HD inline __attribute__((always_inline))
#define QF_BOTH inline
#define QF_KERNEL inline
#define QF_UNROLL(n) QF_PRAGMA(GCC unroll n)
#define QF_ROLLED
#define QF_HAS_LANES
#endif
#define QF_PRAGMA(text) _Pragma(#text)

// Every kernel object is compiled once per instruction set with -DQF_ISA=<name>. Inline functions and templates are in a namespace of that
// name: otherwise the linker would keep a single copy, perhaps the AVX-512 one.
#ifndef QF_ISA
#define QF_ISA common
#endif

namespace quatrefoil {
using std::int64_t;

inline namespace QF_ISA {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <class T>
QF_HD constexpr T min(T a, T b) {
  return b < a ? b : a;
}
template <class T>
QF_HD constexpr T max(T a, T b) {
  return a < b ? b : a;
}
QF_HD constexpr int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

}  // namespace QF_ISA
}  // namespace quatrefoil
