// The ABI between bind.cpp and the kernels: pointers and sizes of C-contiguous arrays.
#pragma once
#include <cstdint>

#include "core/abi/table.hpp"

namespace quatrefoil::cheb::particles {

constexpr int kMaxTerms = 96;

// 1/r - L(r^2) for pairs closer than the cutoff, 0 beyond; L = sum_k c[k] x^k, x = 2 r^2 / cutoff^2 - 1.
struct Bracket {
  double cutoff;
  const double* c;
  int terms;  // 1, ..., kMaxTerms
};

template <class T>
struct ShortRange {
  const T* X;        // (P, 3)
  const T* q;        // (P,)
  const T* targets;  // (N, 3)
  std::int64_t P, N;
  Bracket bracket;
  T* f;  // (N,)
  int threads;
};

template <class T>
struct ShortRangeAdjoint {
  ShortRange<T> forward;  // f unused
  const T* grad;          // (N,)
  T *dX, *dq, *dtargets;
};

// Kernels return -1 or, if the outputs are invalid, the index of the first coordinate that is not finite (in X or, plus 3 P, in targets).
template <class T>
struct Kernels {
  std::int64_t (*short_range)(const ShortRange<T>&);
  std::int64_t (*short_range_adjoint)(const ShortRangeAdjoint<T>&);
};

using Table = TableOf<Kernels>;

}  // namespace quatrefoil::cheb::particles
