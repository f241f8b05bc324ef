// Arrays from Python -> args, checked. Computes nothing.
#include "core/host/isa.hpp"
#include "py/arguments.hpp"
#include "ssm/decay/args.hpp"

QF_TABLE(ssm, decay)

namespace quatrefoil::ssm::decay {
namespace {

template <class T>
Decay<T> inputs(Arguments& given, int threads) {
  Decay<T> p{};
  p.x = given.input("x", "... H L"), p.rate = given.input("rate", "H");
  p.B = given.product("..."), p.H = given["H"], p.L = given["L"], p.threads = threads;
  return p;
}

void decay_apply(Arguments& given, int threads) {
  given.dispatch([&](auto zero) {
    auto p = inputs<decltype(zero)>(given, threads);
    p.y = given.output_like("y", "x");
    given.run(kernels<decltype(zero)>().decay, p);
  });
}

void decay_apply_vjp(Arguments& given, int threads) {
  given.dispatch([&](auto zero) {
    DecayAdjoint<decltype(zero)> q{};
    q.forward = inputs<decltype(zero)>(given, threads);
    q.grad = given.input_like("grad", "x");
    q.dx = given.gradient_of("x"), q.drate = given.gradient_of("rate");
    given.run(kernels<decltype(zero)>().decay_adjoint, q);
  });
}

}  // namespace

void bind(py::module_& m) {
  define(m, "decay_apply", &decay_apply);
  define(m, "decay_apply_vjp", &decay_apply_vjp);
}

}  // namespace quatrefoil::ssm::decay
