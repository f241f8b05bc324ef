// Arrays from Python -> args, checked. Computes nothing.
#include <pybind11/stl.h>

#include <cstdio>

#include "cheb/scattered/args.hpp"
#include "core/host/isa.hpp"
#include "py/arguments.hpp"

QF_TABLE(cheb, scattered)

namespace quatrefoil::cheb::scattered {
namespace {

using Domain = std::vector<double>;  // lo, hi of every axis

template <class T>
TuckerEval<T> inputs(Arguments& given, const Domain& domain, int threads) {
  TuckerEval<T> p{};
  const View core = given.peek(0);
  p.d = core.rank;
  given.require(p.d >= 1 && p.d <= kMaxAxes, "core must have between 1 and 16 axes");
  given.axes("r..", core.shape, p.d);
  for (int k = 0; k < p.d; ++k) given.size("r_", core.shape[k], k + 1);
  p.core = given.input("core", "r..");
  const auto factors = given.inputs("factors", "n_ r_");
  given.require(int(factors.size()) == p.d && domain.size() == 2 * factors.size(), "factors and domain must have an entry for every axis");
  for (int k = 0; k < p.d; ++k) {
    const View& U = factors[std::size_t(k)].view();
    p.factors[k] = factors[std::size_t(k)], p.n[k] = U.shape[0], p.r[k] = U.shape[1];
    p.lo[k] = domain[2 * std::size_t(k)], p.hi[k] = domain[2 * std::size_t(k) + 1];
  }
  given.size("d", p.d);
  p.X = given.input("X", "P d");
  p.P = given["P"], p.threads = threads;
  return p;
}

// Runs a kernel, and refuses the coordinate that it found to be bad.
template <class T, class Kernel, class Args>
void run(const Arguments& given, Kernel* kernel, const Args& args, const TuckerEval<T>& p) {
  const std::int64_t at = given.run(kernel, args);
  if (at < 0) return;
  const int k = int(at % p.d);
  char text[320];
  std::snprintf(text, sizeof text, "X[%lld, %d] = %.17g, expected a number within the domain [%.17g, %.17g] of axis %d",
                (long long)(at / p.d), k, double(p.X[at]), p.lo[k], p.hi[k], k);
  given.refuse(text);
}

void tucker_eval(Arguments& given, const Domain& domain, int threads) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    TuckerEval<T> p = inputs<T>(given, domain, threads);
    p.f = given.output("out", "P");
    run(given, kernels<T>().tucker_eval, p, p);
  });
}

void tucker_eval_adjoint(Arguments& given, const Domain& domain, int threads) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    TuckerEvalAdjoint<T> q{};
    q.forward = inputs<T>(given, domain, threads);
    q.grad = given.input("grad", "P");
    q.dcore = given.gradient_of("core");
    const auto dfactors = given.gradients_of("factors");
    for (std::size_t k = 0; k < dfactors.size(); ++k) q.dfactors[k] = dfactors[k];
    q.dX = given.gradient_of("X");
    run(given, kernels<T>().tucker_eval_adjoint, q, q.forward);
  });
}

}  // namespace

void bind(py::module_& m) {
  define(m, "tucker_eval", &tucker_eval);
  define(m, "tucker_eval_vjp", &tucker_eval_adjoint);
}

}  // namespace quatrefoil::cheb::scattered
