// Boundary values and sources in any dimension, point by point in double precision: constants, Gaussians, polynomials, functions.
#pragma once
#include "core/run/memory.hpp"
#include "wos/data/args.hpp"
#include "wos/data/formula_wide.hpp"

namespace quatrefoil::wos::data {
inline namespace QF_ISA {

// (6) Horner's rule, axis by axis. n: the sizes of the D axes, as stored in the row.
inline double wide_polynomial(const double* c, const double* n, const double* x, int64_t D) {
  if (D == 0) return *c;
  int64_t inner = 1;
  for (int64_t i = 1; i < D; ++i) inner *= int64_t(n[i]);
  double sum = 0;
  for (int64_t k = int64_t(n[0]) - 1; k >= 0; --k) sum = sum * x[0] + wide_polynomial(c + k * inner, n + 1, x + 1, D - 1);
  return sum;
}
// (7) Adds s times its monomial to every coefficient's gradient. Returns the end of the coefficients.
inline double* wide_polynomial_adjoint(const double* n, const double* x, int64_t D, double s, double* to) {
  if (D == 0) {
    *to += s;
    return to + 1;
  }
  for (int64_t k = 0; k < int64_t(n[0]); ++k, s *= x[0]) to = wide_polynomial_adjoint(n + 1, x + 1, D - 1, s, to);
  return to;
}

// One instance's data. Points are (n, D), scaled.
struct WideField {
  Data data;
  int64_t D, instance, first_instance;  // first_instance is the global index of instance 0
  const double* frame;                  // centre (D), extent

  const double* numbers() const { return data.numbers + data.begin(instance); }

  // `absolute` has space for n D coordinates.
  void evaluate(const double* x, int64_t n, double* out, double* absolute) const {
    if (data.kind == Kind::function) {
      if (!n) return;
      for (int64_t k = 0; k < n; ++k)
        for (int64_t i = 0; i < D; ++i) absolute[k * D + i] = frame[i] + frame[D] * x[k * D + i];
      data.callback(data.context, first_instance + instance, n, absolute, out);
      return;
    }
    const double* const p = numbers();
    for (int64_t k = 0; k < n; ++k) out[k] = at(p, x + k * D);
  }
  // Adds the gradient of sum_k share_k value(x_k) with respect to the parameters to `to`.
  void adjoint(const double* x, const double* share, int64_t n, double* to) const {
    const double* const p = numbers();
    for (int64_t k = 0; k < n; ++k) {
      if (share[k] == 0) continue;
      if (data.kind == Kind::number) to[0] += share[k];
      if (data.kind == Kind::polynomial) wide_polynomial_adjoint(p, x + k * D, D, share[k], to + D);
      for (int64_t j = 0; data.kind == Kind::gaussians && j < data.width; j += D + 2) bell_adjoint(p + j, x + k * D, D, share[k], to + j);
    }
  }

 private:
  double at(const double* p, const double* x) const {
    if (data.kind == Kind::number) return p[0];
    if (data.kind == Kind::polynomial) return wide_polynomial(p + D, p, x, D);
    double sum = 0;
    for (int64_t j = 0; j < data.width; j += D + 2) sum += bell_at(p + j, x, D);
    return sum;
  }
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::data
