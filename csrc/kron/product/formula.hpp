// The maths of Kronecker products. Equation numbers: README.md beside this file.
#pragma once
#include "core/lanes/hd.hpp"

namespace quatrefoil::kron::product {
inline namespace QF_ISA {

// (2) Entry (i, j) of A (x) B: A's at (i / p, j / q) times B's at (i % p, j % q), B being (p, q).
template <class T, class A, class B>
QF_HD T kronecker_entry(A&& a, B&& b, int64_t i, int64_t j, int64_t p, int64_t q) {
  return a(i / p, j / q) * b(i % p, j % q);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::kron::product
