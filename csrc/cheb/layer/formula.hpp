// Polynomials evaluated by their three-term recurrence. Equation numbers: README.md.
#pragma once
#include "core/lanes/hd.hpp"
#include "core/lanes/lanes.hpp"

namespace quatrefoil::cheb::layer {
inline namespace QF_ISA {

// The coefficients of the step to degree k (2): a_{k-1}, 1 / sqrt(b_k) and sqrt(b_{k-1} / b_k). For degree 0: 0, the value of p_0, and 0.
template <class T>
struct Step {
  T a, scale, back;
};

template <class T>
QF_HD Step<T> step_to(int64_t k, const T* a, const T* b) {
  if (k == 0) return {T(0), T(1) / square_root(b[0]), T(0)};
  const T scale = T(1) / square_root(b[k]);
  return {a[k - 1], scale, square_root(b[k - 1]) * scale};
}

// p_k(x) for k = 0, 1, ... (1), (2)
template <class V>
struct Values {
  V x, at, before;

  QF_HD Values(V x, const Step<Element<V>>& first) : x(x), at(broadcast<V>(first.scale)), before(V{}) {}
  QF_HD void advance(const Step<Element<V>>& to) {
    const V next = (x - to.a) * to.scale * at - to.back * before;
    before = at;
    at = next;
  }
};

// p_k(x) and its derivative. (3)
template <class V>
struct Slopes {
  Values<V> p;
  V at{}, before{};

  QF_HD Slopes(V x, const Step<Element<V>>& first) : p(x, first) {}
  QF_HD void advance(const Step<Element<V>>& to) {
    const V next = to.scale * (p.at + (p.x - to.a) * at) - to.back * before;
    before = at;
    at = next;
    p.advance(to);
  }
};

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::layer
