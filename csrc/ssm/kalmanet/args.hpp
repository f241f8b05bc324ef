// Arguments of the kernels: pointers and sizes.
#pragma once
#include <cstdint>

#include "core/abi/table.hpp"

namespace quatrefoil::ssm::kalmanet {

template <class T>
struct Gka {
  const T *q, *k, *v;       // (B, length, heads, D)
  const T *alpha, *g, *gk;  // (B, length, heads) or null
  const T *H0, *U0;         // (B, heads, D, D) or null
  T* y;                     // (B, length, heads, D)
  T *H_T, *U_T;             // (B, heads, D, D) or null
  std::int64_t B, length, heads, D;
  double ridge_strength;
  std::int64_t num_iter;
  bool exact;
  int threads;
};

enum class Solver { none, chebyshev, exact };
template <class T>
Solver solver_of(const Gka<T>& p) {
  return p.exact ? Solver::exact : p.num_iter > 0 ? Solver::chebyshev : Solver::none;
}

template <class T>
struct GkaAdjoint {
  Gka<T> forward;                   // y, H_T, U_T unused
  const T *grad, *grad_H, *grad_U;  // gradients of y, H_T, U_T; the last two may be null
  T *dq, *dk, *dv;
  T *dalpha, *dg, *dgk, *dH0, *dU0;  // null if the corresponding input is
};

template <class T>
struct Kernels {
  void (*gka)(const Gka<T>&);
  void (*gka_adjoint)(const GkaAdjoint<T>&);
};
using Table = TableOf<Kernels>;

}  // namespace quatrefoil::ssm::kalmanet
