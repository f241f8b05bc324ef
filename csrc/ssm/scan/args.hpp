// Arguments of the kernels: pointers, sizes, strides.
#pragma once
#include <cstdint>

#include "core/abi/rows.hpp"
#include "core/abi/table.hpp"
#include "core/lanes/cplx.hpp"

namespace quatrefoil::ssm::scan {

template <class E>
struct Linear {  // E: float, double, cplx<float>, cplx<double>
  enum { kA, kB, kH0, kH };
  const E *a, *b, *h0;  // h0 may be null
  E* h;
  Rows<4> rows;
  bool reverse;
  int threads;
};

template <class E>
struct LinearAdjoint {
  enum { kA, kB, kH0, kGrad, kDa, kDb, kDh0 };
  const E *a, *b, *h0, *grad;
  E *da, *db, *dh0;  // da has the shape of b: the caller sums over broadcast axes; dh0 may be null
  Rows<7> rows;
  bool reverse;
  int threads;
};

template <class E>
struct KernelsOf {
  void (*linear)(const Linear<E>&);
  void (*linear_adjoint)(const LinearAdjoint<E>&);
};
template <class T>
struct Kernels {
  KernelsOf<T> real;
  KernelsOf<cplx<T>> complex;
};
using Table = TableOf<Kernels>;

}  // namespace quatrefoil::ssm::scan
