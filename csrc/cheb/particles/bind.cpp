// Checks arrays from Python and puts them into args.
#include <pybind11/stl.h>

#include <vector>

#include "cheb/particles/args.hpp"
#include "core/host/isa.hpp"
#include "py/arguments.hpp"

QF_TABLE(cheb, particles)

namespace quatrefoil::cheb::particles {
namespace {

using Numbers = std::vector<double>;  // the cutoff, then the coefficients

template <class T>
ShortRange<T> particles(Arguments& call, const Numbers& bracket, int threads) {
  call.require(bracket.size() > 1 && bracket.size() <= kMaxTerms + 1, "bracket must be a cutoff followed by 1 to 96 coefficients");
  call.require(bracket[0] > 0 && bracket[0] < 1e150, "the cutoff must be positive and less than 1e150");
  ShortRange<T> p{};
  p.X = call.input("X", "P 3");
  p.q = call.input("q", "P");
  p.targets = call.input("targets", "N 3");
  p.P = call["P"], p.N = call["N"], p.threads = threads;
  p.bracket = {bracket[0], bracket.data() + 1, int(bracket.size()) - 1};
  return p;
}

// Runs a kernel, and raises an error for the invalid coordinate that it returns.
template <class T, class Kernel, class Args>
void run(const Arguments& call, Kernel* kernel, const Args& args, const ShortRange<T>& p) {
  const std::int64_t at = call.run(kernel, args), target = at - 3 * p.P;
  if (target >= 0) call.reject_entry("targets", target, double(p.targets[target]), "a finite number");
  if (at >= 0) call.reject_entry("X", at, double(p.X[at]), "a finite number");
}

void short_range(Arguments& call, const Numbers& bracket, int threads) {
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    ShortRange<T> p = particles<T>(call, bracket, threads);
    p.f = call.output("out", "N");
    run(call, kernels<T>().short_range, p, p);
  });
}

void short_range_adjoint(Arguments& call, const Numbers& bracket, int threads) {
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    ShortRangeAdjoint<T> v{};
    v.forward = particles<T>(call, bracket, threads);
    v.grad = call.input("grad", "N");
    v.dX = call.gradient_of("X");
    v.dq = call.gradient_of("q");
    v.dtargets = call.gradient_of("targets");
    run(call, kernels<T>().short_range_adjoint, v, v.forward);
  });
}

}  // namespace

void bind(py::module_& m) {
  define(m, "short_range", &short_range);
  define(m, "short_range_vjp", &short_range_adjoint);
}

}  // namespace quatrefoil::cheb::particles
