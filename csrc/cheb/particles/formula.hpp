// The formulas for one pair of particles. Equation numbers: README.md.
#pragma once
#include "core/lanes/hd.hpp"
#include "core/lanes/lanes.hpp"

namespace quatrefoil::cheb::particles {
inline namespace QF_ISA {

// (7) B and twice its derivative as functions of s = r^2, without 1/r at s = 0. c: coefficients of L in powers of x = scale s - 1.
template <int vectors, class V>
struct Pairs {
  V value[vectors], slope[vectors];

  template <bool slopes>
  QF_HD void compute(const V (&s)[vectors], const Element<V>* c, int terms, Element<V> scale) {
    using T = Element<V>;
    V x[vectors], p[vectors], dp[vectors] = {};
    for (int v = 0; v < vectors; ++v)
      x[v] = multiply_add(s[v], broadcast<V>(scale), broadcast<V>(T(-1))), p[v] = broadcast<V>(c[terms - 1]);
    for (int k = terms - 2; k >= 0; --k) {
      const V next = broadcast<V>(c[k]);
      QF_UNROLL(8)
      for (int v = 0; v < vectors; ++v) {
        if constexpr (slopes) dp[v] = multiply_add(dp[v], x[v], p[v]);
        p[v] = multiply_add(p[v], x[v], next);
      }
    }
    QF_UNROLL(8)
    for (int v = 0; v < vectors; ++v) {
      const V inverse = s[v] > T(0) ? inverse_root(s[v]) : V{};
      value[v] = inverse - p[v];
      if constexpr (slopes) slope[v] = -(inverse * inverse * inverse + T(2) * scale * dp[v]);
    }
  }
};

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::particles
