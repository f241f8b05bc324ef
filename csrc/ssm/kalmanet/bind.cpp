// Checks arrays from Python and puts them into args.
#include "core/host/isa.hpp"
#include "py/arguments.hpp"
#include "ssm/kalmanet/args.hpp"

QF_TABLE(ssm, kalmanet)

namespace quatrefoil::ssm::kalmanet {
namespace {

template <class T>
Gka<T> inputs(Arguments& given, double ridge_strength, std::int64_t num_iter, const std::string& solver, int threads) {
  Gka<T> p{};
  p.q = given.input("q", "B T H D"), p.k = given.input("k", "B T H D"), p.v = given.input("v", "B T H D");
  p.alpha = given.optional_input("alpha", "B T H"), p.g = given.optional_input("g", "B T H"), p.gk = given.optional_input("gk", "B T H");
  p.H0 = given.optional_input("H0", "B H D D"), p.U0 = given.optional_input("U0", "B H D D");
  p.B = given["B"], p.length = given["T"], p.heads = given["H"], p.D = given["D"];
  given.size("num_iter", num_iter);
  p.ridge_strength = ridge_strength, p.num_iter = num_iter, p.threads = threads;
  p.exact = given.choice("solver", solver, {"chebyshev", "exact"});
  return p;
}

void gka(Arguments& given, double ridge_strength, std::int64_t num_iter, const std::string& solver, bool final_state, int threads) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    Gka<T> p = inputs<T>(given, ridge_strength, num_iter, solver, threads);
    p.y = given.output_like("y", "q");
    p.H_T = given.output_if(final_state, "H_T", "B H D D"), p.U_T = given.output_if(final_state, "U_T", "B H D D");
    given.run(kernels<T>().gka, p);
  });
}

void gka_adjoint(Arguments& given, double ridge_strength, std::int64_t num_iter, const std::string& solver, bool final_state, int threads) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    GkaAdjoint<T> q{};
    q.forward = inputs<T>(given, ridge_strength, num_iter, solver, threads);
    q.grad = given.input_like("grad_y", "q");
    q.grad_H = given.input_if(final_state, "grad_H_T", "B H D D"), q.grad_U = given.input_if(final_state, "grad_U_T", "B H D D");
    q.dq = given.gradient_of("q"), q.dk = given.gradient_of("k"), q.dv = given.gradient_of("v");
    q.dalpha = given.gradient_of("alpha"), q.dg = given.gradient_of("g"), q.dgk = given.gradient_of("gk");
    q.dH0 = given.gradient_of("H0"), q.dU0 = given.gradient_of("U0");
    given.run(kernels<T>().gka_adjoint, q);
  });
}

}  // namespace

void bind(py::module_& m) {
  define(m, "gka", &gka);
  define(m, "gka_vjp", &gka_adjoint);
}

}  // namespace quatrefoil::ssm::kalmanet
