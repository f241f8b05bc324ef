// Arguments of the kernels: pointers and sizes.
#pragma once
#include <cstdint>

#include "core/abi/table.hpp"
#include "core/lanes/cplx.hpp"

namespace quatrefoil::ssm::s4 {

template <class T>
struct Model {
  const T* dt;                           // (H,)
  const cplx<T>*Lambda, *P, *B, *C, *Q;  // (H, N); Q is P if null
  T* K;                                  // (H, L)
  std::int64_t H, N, L;
  bool truncated;  // the array C contains C (I - Abar^L)
  int threads;
};

template <class T>
struct ModelAdjoint : Model<T> {  // K unused
  const T* grad;                  // (H, L)
  T* ddt;
  cplx<T>*dLambda, *dP, *dB, *dC, *dQ;  // dQ may be null
};

template <class T>
struct CauchyMult {
  const cplx<T>*v, *z, *w;  // (B, N), (L,), (B, N)
  cplx<T>* y;               // (B, L)
  std::int64_t B, N, L;
  bool symmetric;
  int threads;
};

template <class T>
struct CauchyMultAdjoint : CauchyMult<T> {  // y unused
  const cplx<T>* grad;                      // (B, L)
  cplx<T>*dv, *dz, *dw;
};

template <class T>
struct Kernels {
  void (*kernel)(const Model<T>&);
  void (*kernel_adjoint)(const ModelAdjoint<T>&);
  void (*cauchy_mult)(const CauchyMult<T>&);
  void (*cauchy_mult_adjoint)(const CauchyMultAdjoint<T>&);
};
using Table = TableOf<Kernels>;

}  // namespace quatrefoil::ssm::s4
