// Checks arrays from Python and puts them into args.
#include "core/host/isa.hpp"
#include "py/arguments.hpp"
#include "ssm/decay/args.hpp"

QF_TABLE(ssm, decay)

namespace quatrefoil::ssm::decay {
namespace {

template <class T>
Decay<T> inputs(Arguments& call, int threads) {
  Decay<T> p{};
  p.x = call.input("x", "... H L"), p.rate = call.input("rate", "H");
  p.B = call.product("..."), p.H = call["H"], p.L = call["L"], p.threads = threads;
  return p;
}

void decay_apply(Arguments& call, int threads) {
  call.dispatch([&](auto zero) {
    auto p = inputs<decltype(zero)>(call, threads);
    p.y = call.output_like("y", "x");
    call.run(kernels<decltype(zero)>().decay, p);
  });
}

void decay_apply_vjp(Arguments& call, int threads) {
  call.dispatch([&](auto zero) {
    DecayAdjoint<decltype(zero)> q{};
    q.forward = inputs<decltype(zero)>(call, threads);
    q.grad = call.input_like("grad", "x");
    q.dx = call.gradient_of("x"), q.drate = call.gradient_of("rate");
    call.run(kernels<decltype(zero)>().decay_adjoint, q);
  });
}

}  // namespace

void bind(py::module_& m) {
  define(m, "decay_apply", &decay_apply);
  define(m, "decay_apply_vjp", &decay_apply_vjp);
}

}  // namespace quatrefoil::ssm::decay
