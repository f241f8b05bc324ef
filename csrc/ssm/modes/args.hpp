// Arguments of the kernels: pointers and sizes.
#pragma once
#include <cstdint>

#include "core/abi/table.hpp"
#include "core/lanes/cplx.hpp"

namespace quatrefoil::ssm::modes {

enum class Disc { zoh, bilinear, dss };                                    // zero-order hold, bilinear, diagonal state spaces
QF_HD double pair_factor(Disc disc) { return disc == Disc::dss ? 1 : 2; }  // the DSS of state-spaces/s4 counts a mode once

// Weights v (M, H, N) and logarithms of poles x (H, N), for rows (M, H, L) of real or complex numbers.
template <class T>
struct Exponentials {
  const cplx<T>*v, *x;
  std::int64_t M, H, N, L;
  bool complex;  // whether rows are complex; in a real sum v and x stand for conjugate pairs
  int threads;
  QF_HD std::int64_t parts() const { return complex ? 2 : 1; }  // a complex row is two real ones
};

template <class T>
struct LogVandermonde : Exponentials<T> {
  T* y;  // rows
};

template <class T>
struct LogVandermondeAdjoint : Exponentials<T> {
  const T* grad;  // like y
  cplx<T>*dv, *dx;
};

template <class T>
struct LogVandermondeTranspose : Exponentials<T> {
  const T* u;  // rows
  cplx<T>* y;  // (M, H, N)
};

template <class T>
struct LogVandermondeTransposeAdjoint : Exponentials<T> {
  const T* u;
  const cplx<T>* grad;  // like y
  T* du;
  cplx<T>*dv, *dx;
};

template <class T>
struct Kernels {
  void (*log_vandermonde)(const LogVandermonde<T>&);
  void (*log_vandermonde_adjoint)(const LogVandermondeAdjoint<T>&);
  void (*log_vandermonde_transpose)(const LogVandermondeTranspose<T>&);
  void (*log_vandermonde_transpose_adjoint)(const LogVandermondeTransposeAdjoint<T>&);
};
using Table = TableOf<Kernels>;

}  // namespace quatrefoil::ssm::modes
