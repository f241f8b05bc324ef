// The ABI between bind.cpp and the kernels: pointers and sizes.
#pragma once
#include <cstdint>

#include "core/abi/table.hpp"

namespace quatrefoil::kron::gp {

constexpr int kMaxAxes = 64;

// One pass over an array in the eigenvector basis.
struct Spectrum {
  int d;
  const double* values[kMaxAxes];  // (n_k,), positive
  std::int64_t n[kMaxAxes];
  const double* z;  // (N,)
  double noise;
  double* weighted;    // (N,)
  double* shrinkages;  // (n_1 + ... + n_d,), sums of λ / (λ + s) over all axes but one
  double* sums;        // (4,)
  int threads;
};

// Sums of products of an array with itself over all axes except one.
struct Gram {
  const double* x;  // (L, n, R)
  std::int64_t L, n, R;
  double* gram;  // (n, n)
  int threads;
};

template <class T>
struct Kernels {
  void (*spectrum)(const Spectrum&);
  void (*gram)(const Gram&);
};
using Table = TableOf<Kernels>;

}  // namespace quatrefoil::kron::gp
