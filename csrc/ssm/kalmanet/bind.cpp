// Checks arrays from Python and puts them into args.
#include "core/host/isa.hpp"
#include "py/arguments.hpp"
#include "ssm/kalmanet/args.hpp"

QF_TABLE(ssm, kalmanet)

namespace quatrefoil::ssm::kalmanet {
namespace {

template <class T>
Gka<T> inputs(Arguments& call, double ridge_strength, std::int64_t num_iter, const std::string& solver, int threads) {
  Gka<T> p{};
  p.q = call.input("q", "B T H D"), p.k = call.input("k", "B T H D"), p.v = call.input("v", "B T H D");
  p.alpha = call.optional_input("alpha", "B T H"), p.g = call.optional_input("g", "B T H"), p.gk = call.optional_input("gk", "B T H");
  p.H0 = call.optional_input("H0", "B H D D"), p.U0 = call.optional_input("U0", "B H D D");
  p.B = call["B"], p.length = call["T"], p.heads = call["H"], p.D = call["D"];
  call.size("num_iter", num_iter);
  p.ridge_strength = ridge_strength, p.num_iter = num_iter, p.threads = threads;
  p.exact = call.choice("solver", solver, {"chebyshev", "exact"});
  return p;
}

void gka(Arguments& call, double ridge_strength, std::int64_t num_iter, const std::string& solver, bool final_state, int threads) {
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    Gka<T> p = inputs<T>(call, ridge_strength, num_iter, solver, threads);
    p.y = call.output_like("y", "q");
    p.H_T = call.output_if(final_state, "H_T", "B H D D"), p.U_T = call.output_if(final_state, "U_T", "B H D D");
    call.run(kernels<T>().gka, p);
  });
}

void gka_adjoint(Arguments& call, double ridge_strength, std::int64_t num_iter, const std::string& solver, bool final_state, int threads) {
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    GkaAdjoint<T> q{};
    q.forward = inputs<T>(call, ridge_strength, num_iter, solver, threads);
    q.grad = call.input_like("grad_y", "q");
    q.grad_H = call.input_if(final_state, "grad_H_T", "B H D D"), q.grad_U = call.input_if(final_state, "grad_U_T", "B H D D");
    q.dq = call.gradient_of("q"), q.dk = call.gradient_of("k"), q.dv = call.gradient_of("v");
    q.dalpha = call.gradient_of("alpha"), q.dg = call.gradient_of("g"), q.dgk = call.gradient_of("gk");
    q.dH0 = call.gradient_of("H0"), q.dU0 = call.gradient_of("U0");
    call.run(kernels<T>().gka_adjoint, q);
  });
}

}  // namespace

void bind(py::module_& m) {
  define(m, "gka", &gka);
  define(m, "gka_vjp", &gka_adjoint);
}

}  // namespace quatrefoil::ssm::kalmanet
