// Checks arrays from Python and puts them into args.
#include "core/host/isa.hpp"
#include "py/arguments.hpp"
#include "ssm/s4/args.hpp"

QF_TABLE(ssm, s4)

namespace quatrefoil::ssm::s4 {
namespace {

template <class T>
void take_inputs(Arguments& call, Model<T>& p, std::int64_t L, bool truncated, int threads) {
  call.size("L", L);
  p.dt = call.input("dt", "H");
  p.Lambda = call.input("Lambda", "H N"), p.P = call.input("P", "H N"), p.B = call.input("B", "H N"), p.C = call.input("C", "H N");
  p.Q = call.optional_input("Q", "H N");
  p.H = call["H"], p.N = call["N"], p.L = L;
  p.truncated = truncated, p.threads = threads;
}

template <class T>
void kernel(Arguments& call, std::int64_t L, bool truncated, int threads) {
  Model<T> p{};
  take_inputs(call, p, L, truncated, threads);
  p.K = call.output("out", "H L");
  call.run(kernels<T>().kernel, p);
}

template <class T>
void kernel_adjoint(Arguments& call, std::int64_t L, bool truncated, int threads) {
  ModelAdjoint<T> q{};
  take_inputs(call, q, L, truncated, threads);
  q.grad = call.input("grad", "H L");
  q.ddt = call.gradient_of("dt"), q.dLambda = call.gradient_of("Lambda"), q.dP = call.gradient_of("P");
  q.dB = call.gradient_of("B"), q.dC = call.gradient_of("C"), q.dQ = call.gradient_of("Q");
  call.run(kernels<T>().kernel_adjoint, q);
}

template <class T>
void take_inputs(Arguments& call, CauchyMult<T>& p, bool symmetric, int threads) {
  p.v = call.input("v", "... N"), p.z = call.input("z", "L"), p.w = call.input("w", "... N");
  p.B = call.product("..."), p.N = call["N"], p.L = call["L"];
  p.symmetric = symmetric, p.threads = threads;
}

template <class T>
void cauchy_mult(Arguments& call, bool symmetric, int threads) {
  CauchyMult<T> p{};
  take_inputs(call, p, symmetric, threads);
  p.y = call.output("out", "... L");
  call.run(kernels<T>().cauchy_mult, p);
}

template <class T>
void cauchy_mult_adjoint(Arguments& call, bool symmetric, int threads) {
  CauchyMultAdjoint<T> q{};
  take_inputs(call, q, symmetric, threads);
  q.grad = call.input("grad", "... L");
  q.dv = call.gradient_of("v"), q.dz = call.gradient_of("z"), q.dw = call.gradient_of("w");
  call.run(kernels<T>().cauchy_mult_adjoint, q);
}

}  // namespace

void bind(py::module_& m) {
  define(m, "s4_kernel", &kernel<float>, &kernel<double>);
  define(m, "s4_kernel_vjp", &kernel_adjoint<float>, &kernel_adjoint<double>);
  define(m, "cauchy_mult", &cauchy_mult<float>, &cauchy_mult<double>);
  define(m, "cauchy_mult_vjp", &cauchy_mult_adjoint<float>, &cauchy_mult_adjoint<double>);
}

}  // namespace quatrefoil::ssm::s4
