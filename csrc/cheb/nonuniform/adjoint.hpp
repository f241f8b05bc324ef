// The adjoints: values and moments are each other's in the coefficients and the weights; slopes in the points are values of derivatives.
#pragma once
#include "cheb/nonuniform/method.hpp"

namespace quatrefoil::cheb::nonuniform {
inline namespace QF_ISA {

// Coefficients of the derivative along an axis, pencil by pencil.
template <class T>
void differentiate_along(const Setting<T>& at, const T* C, int axis, T* D) {
  int64_t before = 1, after = 1;
  const int64_t n = at.n[axis];
  for (int k = 0; k < at.d; ++k)
    if (k != axis) (k < axis ? before : after) *= at.n[k];
  parallel_for(before * after, at.threads, 2 * double(n), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i / after * n * after + i % after;
      scattered::differentiate(C + first, n, after, D + first, after);
    }
  });
}

// README (8): dX[p, k] = weight_p d/dx_k of the function with coefficients C. At the ends of the interval too, where arccos has no slope.
template <class T>
int64_t slopes(const Setting<T>& at, const T* C, const T* weight, T* dX) {
  int64_t numbers = 1;
  for (int k = 0; k < at.d; ++k) numbers *= at.n[k];
  const Scratch<T> D(numbers), f(at.P);
  for (int k = 0; k < at.d; ++k) {
    differentiate_along<T>(at, C, k, D);
    const int64_t bad = values<T>({at, D, f, nullptr});
    if (bad >= 0) return bad;
    const T slope = T(2 / (at.hi[k] - at.lo[k]));
    parallel_for(at.P, at.threads, kNumberNs, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) dX[p * at.d + k] = weight[p] * f[p] * slope;
    });
  }
  return -1;
}

template <class T>
int64_t values_adjoint(const ValuesAdjoint<T>& v) {
  const Values<T>& forward = v.forward;
  const int64_t bad = moments<T>({forward.at, v.grad, v.dC});
  return bad < 0 ? slopes(forward.at, forward.C, v.grad, v.dX) : bad;
}

template <class T>
int64_t moments_adjoint(const MomentsAdjoint<T>& m) {
  const Moments<T>& forward = m.forward;
  const int64_t bad = values<T>({forward.at, m.grad, m.dq, nullptr});
  return bad < 0 ? slopes(forward.at, m.grad, forward.q, m.dX) : bad;
}

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::nonuniform
