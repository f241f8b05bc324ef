// Arrays from Python -> args, checked. Computes nothing.
#include <pybind11/stl.h>

#include <cstdio>
#include <vector>

#include "cheb/particles/args.hpp"
#include "core/host/isa.hpp"
#include "py/arguments.hpp"

QF_TABLE(cheb, particles)

namespace quatrefoil::cheb::particles {
namespace {

using Numbers = std::vector<double>;  // the cutoff, then the coefficients

// Takes X, q and targets.
template <class T>
ShortRange<T> particles(Arguments& given, const Numbers& bracket, int threads) {
  given.require(bracket.size() > 1 && bracket.size() <= kMostTerms + 1, "bracket must be a cutoff and between 1 and 96 coefficients");
  given.require(bracket[0] > 0 && bracket[0] < 1e150, "the cutoff must be positive and finite");
  ShortRange<T> p{};
  p.X = given.input("X", "P 3");
  p.q = given.input("q", "P");
  p.targets = given.input("targets", "N 3");
  p.P = given["P"], p.N = given["N"], p.threads = threads;
  p.bracket = {bracket[0], bracket.data() + 1, int(bracket.size()) - 1};
  return p;
}

// Runs a kernel, and refuses the coordinate that it found to be bad.
template <class T, class Kernel, class Args>
void run(const Arguments& given, Kernel* kernel, const Args& args, const ShortRange<T>& p) {
  std::int64_t at = given.run(kernel, args);
  if (at < 0) return;
  const bool target = at >= 3 * p.P;
  if (target) at -= 3 * p.P;
  char text[160];
  std::snprintf(text, sizeof text, "%s[%lld, %d] = %.17g, expected a finite number", target ? "targets" : "X", (long long)(at / 3),
                int(at % 3), double((target ? p.targets : p.X)[at]));
  given.refuse(text);
}

void short_range(Arguments& given, const Numbers& bracket, int threads) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    ShortRange<T> p = particles<T>(given, bracket, threads);
    p.f = given.output("out", "N");
    run(given, kernels<T>().short_range, p, p);
  });
}

void short_range_adjoint(Arguments& given, const Numbers& bracket, int threads) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    ShortRangeAdjoint<T> v{};
    v.forward = particles<T>(given, bracket, threads);
    v.grad = given.input("grad", "N");
    v.dX = given.gradient_of("X");
    v.dq = given.gradient_of("q");
    v.dtargets = given.gradient_of("targets");
    run(given, kernels<T>().short_range_adjoint, v, v.forward);
  });
}

}  // namespace

void bind(py::module_& m) {
  define(m, "short_range", &short_range);
  define(m, "short_range_vjp", &short_range_adjoint);
}

}  // namespace quatrefoil::cheb::particles
