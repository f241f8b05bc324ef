// Arguments of the kernels: pointers and sizes.
#pragma once
#include <cstdint>

#include "core/abi/table.hpp"
#include "core/lanes/cplx.hpp"

namespace quatrefoil::ssm::s5 {

template <class T>
struct Apply {
  const T* u;                    // (B, L, H)
  const cplx<T>*lambda, *b, *c;  // (P,), (P, H), (H, P) or (H, 2P)
  const T* D;                    // (H,); may be null
  const cplx<T>* initial;        // (B, P); may be null
  T* y;                          // (B, L, H)
  cplx<T>* last;                 // (B, P); may be null
  std::int64_t B, L, H, P;
  bool conj_sym, bidirectional;
  int threads;
  T multiplicity() const { return T(conj_sym ? 2 : 1); }  // with conj_sym, each state also stands for its conjugate
};

template <class T>
struct ApplyAdjoint : Apply<T> {  // y and last unused
  const T* grad;                  // (B, L, H)
  const cplx<T>* grad_last;       // (B, P); may be null
  T* du;
  cplx<T>*dlambda, *db, *dc;
  T* dD;              // null if D is
  cplx<T>* dinitial;  // null if initial is
};

template <class T>
struct Kernels {
  void (*apply)(const Apply<T>&);
  void (*apply_adjoint)(const ApplyAdjoint<T>&);
};
using Table = TableOf<Kernels>;

}  // namespace quatrefoil::ssm::s5
