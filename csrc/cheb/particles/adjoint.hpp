// The adjoint of the short-range sum: the bracket is symmetric, so that particles and targets change places.
#pragma once
#include "cheb/particles/sums.hpp"

namespace quatrefoil::cheb::particles {
inline namespace QF_ISA {

// README (8).
template <class T>
int64_t short_range_adjoint(const ShortRangeAdjoint<T>& v) {
  const ShortRange<T>& p = v.forward;
  const int64_t bad = first_bad(p);
  if (bad >= 0) return bad;
  sums<T, true>(p.X, p.q, p.P, p.targets, p.N, p.bracket, {nullptr, v.dtargets, v.grad}, p.threads);
  sums<T, true>(p.targets, v.grad, p.N, p.X, p.P, p.bracket, {v.dq, v.dX, p.q}, p.threads);
  return -1;
}

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::particles
