// Checks arrays from Python and puts them into args.
#include "core/host/isa.hpp"
#include "py/arguments.hpp"
#include "ssm/s5/args.hpp"

QF_TABLE(ssm, s5)

namespace quatrefoil::ssm::s5 {
namespace {

template <class T>
void take_inputs(Arguments& call, Apply<T>& p, bool conj_sym, bool bidirectional, bool return_state, int threads) {
  p.u = call.input("u", "... L H");
  p.lambda = call.input("Lambda_bar", "P");
  p.b = call.input("B_bar", "P H");
  p.c = call.input("C", bidirectional ? "H 2P" : "H P");
  p.D = call.optional_input("D", "H");
  p.initial = call.optional_input("initial_state", "... P");
  call.require(!bidirectional || !(p.initial || return_state), "a bidirectional system has no state");
  p.B = call.product("..."), p.L = call["L"], p.H = call["H"], p.P = call["P"];
  p.conj_sym = conj_sym, p.bidirectional = bidirectional, p.threads = threads;
}

template <class T>
void apply(Arguments& call, bool conj_sym, bool bidirectional, bool return_state, int threads) {
  Apply<T> p{};
  take_inputs(call, p, conj_sym, bidirectional, return_state, threads);
  p.y = call.output_like("out", "u");
  p.last = call.output_if(return_state, "last_state", "... P");
  call.run(kernels<T>().apply, p);
}

template <class T>
void apply_adjoint(Arguments& call, bool conj_sym, bool bidirectional, bool return_state, int threads) {
  ApplyAdjoint<T> q{};
  take_inputs(call, q, conj_sym, bidirectional, return_state, threads);
  q.grad = call.input_like("grad_y", "u");
  q.grad_last = call.input_if(return_state, "grad_last_state", "... P");
  q.du = call.gradient_of("u"), q.dlambda = call.gradient_of("Lambda_bar"), q.db = call.gradient_of("B_bar");
  q.dc = call.gradient_of("C"), q.dD = call.gradient_of("D"), q.dinitial = call.gradient_of("initial_state");
  call.run(kernels<T>().apply_adjoint, q);
}

}  // namespace

void bind(py::module_& m) {
  define(m, "s5_apply", &apply<float>, &apply<double>);
  define(m, "s5_apply_vjp", &apply_adjoint<float>, &apply_adjoint<double>);
}

}  // namespace quatrefoil::ssm::s5
