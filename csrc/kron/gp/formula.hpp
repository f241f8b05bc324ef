// The formulas for one entry in the eigenvector basis. Equation numbers: README.md.
#pragma once
#include "core/lanes/elementary.hpp"

namespace quatrefoil::kron::gp {
inline namespace QF_ISA {

template <class V>
struct Entry {
  V a;          // (2) z / (λ + s)
  V shrinkage;  // (3) λ / (λ + s)
  V inverse;    // 1 / (λ + s)
  V log;        // log(λ + s)
};

template <class V>
QF_HD Entry<V> entry(V z, V lambda, Element<V> noise) {
  const V d = lambda + noise, inverse = Element<V>(1) / d;
  return {z * inverse, lambda * inverse, inverse, elementary::log(d)};
}

}  // namespace QF_ISA
}  // namespace quatrefoil::kron::gp
