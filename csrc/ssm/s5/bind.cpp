// Checks arrays from Python and puts them into args.
#include "core/host/isa.hpp"
#include "py/arguments.hpp"
#include "ssm/s5/args.hpp"

QF_TABLE(ssm, s5)

namespace quatrefoil::ssm::s5 {
namespace {

template <class T>
void take_inputs(Arguments& given, Apply<T>& p, bool conj_sym, bool bidirectional, bool return_state, int threads) {
  p.u = given.input("u", "... L H");
  p.lambda = given.input("Lambda_bar", "P");
  p.b = given.input("B_bar", "P H");
  p.c = given.input("C", bidirectional ? "H 2P" : "H P");
  p.D = given.optional_input("D", "H");
  p.initial = given.optional_input("initial_state", "... P");
  given.require(!bidirectional || !(p.initial || return_state), "both directions together have no state");
  p.B = given.product("..."), p.L = given["L"], p.H = given["H"], p.P = given["P"];
  p.conj_sym = conj_sym, p.bidirectional = bidirectional, p.threads = threads;
}

template <class T>
void apply(Arguments& given, bool conj_sym, bool bidirectional, bool return_state, int threads) {
  Apply<T> p{};
  take_inputs(given, p, conj_sym, bidirectional, return_state, threads);
  p.y = given.output_like("out", "u");
  p.last = given.output_if(return_state, "last_state", "... P");
  given.run(kernels<T>().apply, p);
}

template <class T>
void apply_adjoint(Arguments& given, bool conj_sym, bool bidirectional, bool return_state, int threads) {
  ApplyAdjoint<T> q{};
  take_inputs(given, q, conj_sym, bidirectional, return_state, threads);
  q.grad = given.input_like("grad_y", "u");
  q.grad_last = given.input_if(return_state, "grad_last_state", "... P");
  q.du = given.gradient_of("u"), q.dlambda = given.gradient_of("Lambda_bar"), q.db = given.gradient_of("B_bar");
  q.dc = given.gradient_of("C"), q.dD = given.gradient_of("D"), q.dinitial = given.gradient_of("initial_state");
  given.run(kernels<T>().apply_adjoint, q);
}

}  // namespace

void bind(py::module_& m) {
  define(m, "s5_apply", &apply<float>, &apply<double>);
  define(m, "s5_apply_vjp", &apply_adjoint<float>, &apply_adjoint<double>);
}

}  // namespace quatrefoil::ssm::s5
