// The formulas of Kronecker products. Equation numbers: README.md.
#pragma once
#include "core/lanes/hd.hpp"

namespace quatrefoil::kron::product {
inline namespace QF_ISA {

// (2) Entry (i, j) of A (x) B: entry (i / p, j / q) of A times entry (i % p, j % q) of B, with B of shape (p, q).
template <class T, class A, class B>
QF_HD T kronecker_entry(A&& a, B&& b, int64_t i, int64_t j, int64_t p, int64_t q) {
  return a(i / p, j / q) * b(i % p, j % q);
}

// Sizes for the gradient of one vector with d factors: of x, of y, of all arrays (4), of the largest array, and of all factor gradients.
struct GradientSizes {
  double N = 1, M = 1, arrays = 0, largest = 0, entries = 0;

  template <class Stage>
  GradientSizes(const Stage* s, int d) {
    for (int k = 0; k < d; ++k) {
      double size = double(s[k].n);  // n_1 ... n_k m_{k+1} ... m_d
      for (int i = 0; i < k; ++i) size *= double(s[i].n);
      for (int i = k + 1; i < d; ++i) size *= double(s[i].m);
      largest = max(largest, size);
      if (k + 1 < d) arrays += size;
      N *= double(s[k].n), M *= double(s[k].m), entries += double(s[k].m) * double(s[k].n);
    }
  }
};

// The adjoint for B vectors x and the gradients g of the results. multiply(transposed, k, L, R, from, to) applies factor k to (L, n_k, R),
// or its transpose to (L, m_k, R); gram(k, L, R, g, x) adds (5). inputs (d,): pointers to the X^(k) of (4); `arrays` has room for them,
// `passing` for two arrays of `largest`.
template <class T, class Stage, class Multiply, class Gram>
void gradient(const Stage* s, int d, int64_t B, const T* x, const T* g, T* dx, const T** inputs, T* arrays, T* passing, int64_t largest,
              Multiply&& multiply, Gram&& gram) {
  int64_t L = B, R = 1;
  for (int k = 0; k < d; ++k) L *= s[k].n;
  inputs[d - 1] = x;
  for (int k = d - 1; k > 0; --k) {  // (4)
    L /= s[k].n;
    multiply(false, k, L, R, inputs[k], arrays);
    inputs[k - 1] = arrays;
    R *= s[k].m;
    arrays += L * R;
  }
  L = B;
  for (int k = 0; k < d; ++k) {
    gram(k, L, R, g, inputs[k]);  // (5)
    T* const next = k + 1 == d ? dx : passing + k % 2 * largest;
    multiply(true, k, L, R, g, next);  // (6)
    g = next;
    L *= s[k].n;
    if (k + 1 < d) R /= s[k + 1].m;
  }
}

}  // namespace QF_ISA
}  // namespace quatrefoil::kron::product
