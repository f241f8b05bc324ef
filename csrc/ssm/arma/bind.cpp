// Checks arrays from Python and puts them into args.
#include <algorithm>

#include "core/host/isa.hpp"
#include "py/arguments.hpp"
#include "ssm/arma/args.hpp"

QF_TABLE(ssm, arma)

namespace quatrefoil::ssm::arma {
namespace {

template <class T>
void take_inputs(Arguments& call, Filter<T>& p, int threads) {
  const bool one_b = call.peek(0).rank == 1, one_a = call.peek(1).rank == 1;
  p.b = call.input("b", one_b ? "Q" : "... Q"), p.a = call.input("a", one_a ? "P" : "... P");
  p.x = call.input("x", "... L");
  p.b_taps = call["Q"], p.a_taps = call["P"];
  call.require(p.b_taps > 0 && p.a_taps > 0, "b and a must have at least one coefficient each");
  p.b_row = one_b ? 0 : p.b_taps, p.a_row = one_a ? 0 : p.a_taps;
  p.order = std::max(p.a_taps, p.b_taps) - 1;
  call.size("Z", p.order);
  p.start = call.optional_input("zi", "... Z");
  p.rows = call.product("..."), p.length = call["L"], p.threads = threads;
  const std::int64_t filters = p.a_row ? p.rows : 1;
  for (std::int64_t i = 0; i < filters; ++i) call.require(p.a[i * p.a_taps] != T(0), "a[..., 0] is 0, expected a nonzero number");
}

template <class T>
void arma_filter(Arguments& call, bool return_state, int threads) {
  Filter<T> p{};
  take_inputs(call, p, threads);
  p.y = call.output_like("y", "x"), p.final = call.output_if(return_state, "zf", "... Z");
  call.run(kernels<T>().filter, p);
}

template <class T>
void arma_filter_vjp(Arguments& call, bool return_state, int threads) {
  FilterAdjoint<T> q{};
  take_inputs(call, q, threads);
  q.grad = call.input_like("grad_y", "x"), q.grad_final = call.input_if(return_state, "grad_zf", "... Z");
  q.db = call.gradient_of("b"), q.da = call.gradient_of("a"), q.dx = call.gradient_of("x"), q.dstart = call.gradient_of("zi");
  call.run(kernels<T>().filter_adjoint, q);
}

}  // namespace

void bind(py::module_& m) {
  define(m, "arma_filter", &arma_filter<float>, &arma_filter<double>);
  define(m, "arma_filter_vjp", &arma_filter_vjp<float>, &arma_filter_vjp<double>);
}

}  // namespace quatrefoil::ssm::arma
