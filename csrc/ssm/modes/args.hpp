// What the bindings hand to the kernels: pointers, sizes, strides.
#pragma once
#include <cstdint>

#include "core/abi/rows.hpp"
#include "core/abi/table.hpp"
#include "core/lanes/cplx.hpp"

namespace quatrefoil::ssm::modes {

enum class Disc { zoh, bilinear, dss };                                    // zero-order hold, bilinear, diagonal state spaces
QF_HD double pair_factor(Disc disc) { return disc == Disc::dss ? 1 : 2; }  // upstream's DSS counts a mode once

template <class T>
struct LogVandermonde {
  const cplx<T>* v;  // (M, H, N)
  const cplx<T>* x;  // (H, N)
  T* y;              // (M, H, L): twice the real part; or cplx (M, H, L)
  std::int64_t M, H, N, L;
  bool conj;  // whether v and x stand for conjugate pairs
  int threads;
};

template <class T>
struct LogVandermondeAdjoint {
  LogVandermonde<T> forward;  // y unused
  const T* grad;              // like y
  cplx<T>*dv, *dx;
};

template <class T>
struct LogVandermondeTranspose {
  const T* u;        // (M, H, L), or cplx (M, H, L)
  const cplx<T>* v;  // (M, H, N)
  const cplx<T>* x;  // (H, N)
  cplx<T>* y;        // (M, H, N)
  std::int64_t M, H, N, L;
  bool complex;  // whether u is
  int threads;
};

template <class T>
struct LogVandermondeTransposeAdjoint {
  LogVandermondeTranspose<T> forward;  // y unused
  const cplx<T>* grad;                 // (M, H, N)
  T* du;                               // like u
  cplx<T>*dv, *dx;
};

// Rows that several others share, repeated: b = a, for numbers E, T or cplx<T>. On devices alone.
template <class E>
struct Repeat {
  enum { kA, kB };
  const E* a;
  E* b;
  Rows<2> rows;  // strides of 0 where a is shared
};

template <class T>
struct Kernels {
  void (*log_vandermonde)(const LogVandermonde<T>&);
  void (*log_vandermonde_adjoint)(const LogVandermondeAdjoint<T>&);
  void (*log_vandermonde_transpose)(const LogVandermondeTranspose<T>&);
  void (*log_vandermonde_transpose_adjoint)(const LogVandermondeTransposeAdjoint<T>&);
  void (*repeat)(const Repeat<T>&);
  void (*repeat_complex)(const Repeat<cplx<T>>&);
};
using Table = TableOf<Kernels>;

}  // namespace quatrefoil::ssm::modes
