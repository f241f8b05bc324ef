// Helpers for bindings with scattered points: domains, and errors for invalid coordinates.
#pragma once
#include <vector>

#include "py/arguments.hpp"

namespace quatrefoil::cheb::scattered {

using Domain = std::vector<double>;  // lo, hi of every axis

inline void take_domain(const Arguments& call, const Domain& domain, int d, double* lo, double* hi) {
  call.require(domain.size() == 2 * std::size_t(d), "domain must have one entry per axis");
  for (int k = 0; k < d; ++k) lo[k] = domain[2 * std::size_t(k)], hi[k] = domain[2 * std::size_t(k) + 1];
}

// Runs a kernel, and raises an error for the invalid coordinate of X (P, d) that it returns.
template <class Kernel, class Args, class Points>
void run_at_points(const Arguments& call, Kernel* kernel, const Args& args, const Points& p, bool extrapolate = false) {
  const std::int64_t at = call.run(kernel, args);
  if (at < 0) return;
  const int k = int(at % p.d);
  const std::string domain = "[" + number_text(p.lo[k]) + ", " + number_text(p.hi[k]) + "] of axis " + std::to_string(k);
  call.reject_entry("X", at, double(p.X[at]), extrapolate ? "a finite number" : "a number within the domain " + domain);
}

}  // namespace quatrefoil::cheb::scattered
