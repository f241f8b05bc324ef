// Checks arrays from Python and puts them into args.
#include <algorithm>

#include "core/host/isa.hpp"
#include "py/arguments.hpp"
#include "ssm/arma/args.hpp"

QF_TABLE(ssm, arma)

namespace quatrefoil::ssm::arma {
namespace {

template <class T>
void take_inputs(Arguments& given, Filter<T>& p, int threads) {
  const bool one_b = given.peek(0).rank == 1, one_a = given.peek(1).rank == 1;
  p.b = given.input("b", one_b ? "Q" : "... Q"), p.a = given.input("a", one_a ? "P" : "... P");
  p.x = given.input("x", "... L");
  p.b_taps = given["Q"], p.a_taps = given["P"];
  given.require(p.b_taps > 0 && p.a_taps > 0, "b and a must have at least one coefficient each");
  p.b_row = one_b ? 0 : p.b_taps, p.a_row = one_a ? 0 : p.a_taps;
  p.order = std::max(p.a_taps, p.b_taps) - 1;
  given.size("Z", p.order);
  p.start = given.optional_input("zi", "... Z");
  p.rows = given.product("..."), p.length = given["L"], p.threads = threads;
  const std::int64_t filters = p.a_row ? p.rows : 1;
  for (std::int64_t i = 0; i < filters; ++i) given.require(p.a[i * p.a_taps] != T(0), "a[..., 0] is 0, expected a number to divide by");
}

template <class T>
void arma_filter(Arguments& given, bool return_state, int threads) {
  Filter<T> p{};
  take_inputs(given, p, threads);
  p.y = given.output_like("y", "x"), p.final = given.output_if(return_state, "zf", "... Z");
  given.run(kernels<T>().filter, p);
}

template <class T>
void arma_filter_vjp(Arguments& given, bool return_state, int threads) {
  FilterAdjoint<T> q{};
  take_inputs(given, q, threads);
  q.grad = given.input_like("grad_y", "x"), q.grad_final = given.input_if(return_state, "grad_zf", "... Z");
  q.db = given.gradient_of("b"), q.da = given.gradient_of("a"), q.dx = given.gradient_of("x"), q.dstart = given.gradient_of("zi");
  given.run(kernels<T>().filter_adjoint, q);
}

}  // namespace

void bind(py::module_& m) {
  define(m, "arma_filter", &arma_filter<float>, &arma_filter<double>);
  define(m, "arma_filter_vjp", &arma_filter_vjp<float>, &arma_filter_vjp<double>);
}

}  // namespace quatrefoil::ssm::arma
