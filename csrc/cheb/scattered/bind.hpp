// What calls with scattered points have in common: domains, and the coordinate that a kernel refuses. Computes nothing.
#pragma once
#include <cstdio>
#include <vector>

#include "py/arguments.hpp"

namespace quatrefoil::cheb::scattered {

using Domain = std::vector<double>;  // lo, hi of every axis

inline void take_domain(const Arguments& given, const Domain& domain, int d, double* lo, double* hi) {
  given.require(domain.size() == 2 * std::size_t(d), "domain must have an entry for every axis");
  for (int k = 0; k < d; ++k) lo[k] = domain[2 * std::size_t(k)], hi[k] = domain[2 * std::size_t(k) + 1];
}

// Runs a kernel, and refuses the coordinate of X (P, d) that it found to be bad: no number, or outside where points must lie inside.
template <class Kernel, class Args, class Points>
void run_at_points(const Arguments& given, Kernel* kernel, const Args& args, const Points& p, bool extrapolate = false) {
  const std::int64_t at = given.run(kernel, args);
  if (at < 0) return;
  const int k = int(at % p.d);
  char text[320];
  if (extrapolate)
    std::snprintf(text, sizeof text, "X[%lld, %d] = %.17g, expected a finite number", (long long)(at / p.d), k, double(p.X[at]));
  else
    std::snprintf(text, sizeof text, "X[%lld, %d] = %.17g, expected a number within the domain [%.17g, %.17g] of axis %d",
                  (long long)(at / p.d), k, double(p.X[at]), p.lo[k], p.hi[k], k);
  given.refuse(text);
}

}  // namespace quatrefoil::cheb::scattered
