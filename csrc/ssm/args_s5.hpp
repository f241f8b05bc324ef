#pragma once
#include "core/cplx.hpp"
#include "core/rows.hpp"

namespace quatrefoil::ssm {

template <class T>
struct S5 {
  const T* u;                    // (B, L, H)
  const cplx<T>*lambda, *b, *c;  // (P,), (P, H), (H, P) or (H, 2P)
  const T* D;                    // (H,); may be null
  const cplx<T>* initial;        // (B, P); may be null
  T* y;                          // (B, L, H)
  cplx<T>* last;                 // (B, P); may be null
  std::int64_t B, L, H, P;
  bool conj_sym, bidirectional;
  int threads;
};

template <class T>
struct S5Vjp {
  S5<T> forward;             // y and last are not used
  const T* grad;             // (B, L, H)
  const cplx<T>* grad_last;  // (B, P); may be null
  T* du;
  cplx<T>*dlambda, *db, *dc;
  T* dD;              // null where D is
  cplx<T>* dinitial;  // null where initial is
};

template <class T>
struct S5Kernels {
  void (*s5_apply)(const S5<T>&);
  void (*s5_apply_vjp)(const S5Vjp<T>&);
};

}  // namespace quatrefoil::ssm
