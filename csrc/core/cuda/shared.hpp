// Shared memory of a block, and exchanges between the lanes of a warp.
#pragma once
#include "core/cuda/simt.hpp"
#include "core/lanes/hd.hpp"

// QF_SHARED(T, name): the shared memory of this block, as an array of T. The launch determines its size.
#if defined(QF_EMULATOR)
#define QF_SHARED(T, name) T* const name = static_cast<T*>(quatrefoil::emulator::shared_memory())
#else
#define QF_SHARED(T, name)                                         \
  extern __shared__ __align__(16) unsigned char qf_shared_bytes[]; \
  T* const name = reinterpret_cast<T*>(qf_shared_bytes)
#endif

namespace quatrefoil {
inline namespace QF_ISA {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

// Replaces each 32-bit word of a value with f(word).
template <class T, class F>
__device__ __forceinline__ T by_words(T value, F f) {
  constexpr int n = sizeof(T) / 4;
  unsigned words[n];
  __builtin_memcpy(words, &value, sizeof value);
  QF_UNROLL(16)
  for (int i = 0; i < n; ++i) words[i] = f(words[i]);
  __builtin_memcpy(&value, words, sizeof value);
  return value;
}

// The value of lane `lane` modulo the warp size. All lanes of the warp must call it.
template <class T>
__device__ __forceinline__ T shuffle_from(T value, int lane) {
  return by_words(value, [lane](unsigned word) { return __shfl_sync(kAllLanes, word, lane); });
}
// The value of the lane `by` lanes before this one, or its own value in the first lanes. All lanes of the warp must call it.
template <class T>
__device__ __forceinline__ T shuffle_up(T value, int by) {
  return by_words(value, [by](unsigned word) { return __shfl_up_sync(kAllLanes, word, by); });
}
// The value of the lane whose index differs from this lane's in the bits of `mask`.
template <class T>
__device__ __forceinline__ T shuffle_xor(T value, int mask) {
  return by_words(value, [mask](unsigned word) { return __shfl_xor_sync(kAllLanes, word, mask); });
}

// The sum over a group of `lanes` neighbouring lanes, in a fixed order. Every lane gets the result.
template <int lanes = kWarp, class T>
__device__ __forceinline__ T sum_of_lanes(T x) {
  QF_UNROLL(5)
  for (int by = lanes / 2; by; by /= 2) x += shuffle_xor(x, by);
  return x;
}

// Four elements that are loaded together.
template <class T>
struct alignas(16) Quad {
  T x[4];
};
template <class T>
__device__ __forceinline__ Quad<T> quad(const T* at) {
  return *reinterpret_cast<const Quad<T>*>(at);
}

}  // namespace QF_ISA
}  // namespace quatrefoil
