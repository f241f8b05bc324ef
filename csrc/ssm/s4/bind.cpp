// Checks arrays from Python and puts them into args.
#include "core/host/isa.hpp"
#include "py/arguments.hpp"
#include "ssm/s4/args.hpp"

QF_TABLE(ssm, s4)

namespace quatrefoil::ssm::s4 {
namespace {

template <class T>
void take_inputs(Arguments& given, Model<T>& p, std::int64_t L, bool truncated, int threads) {
  given.size("L", L);
  p.dt = given.input("dt", "H");
  p.Lambda = given.input("Lambda", "H N"), p.P = given.input("P", "H N"), p.B = given.input("B", "H N"), p.C = given.input("C", "H N");
  p.Q = given.optional_input("Q", "H N");
  p.H = given["H"], p.N = given["N"], p.L = L;
  p.truncated = truncated, p.threads = threads;
}

template <class T>
void kernel(Arguments& given, std::int64_t L, bool truncated, int threads) {
  Model<T> p{};
  take_inputs(given, p, L, truncated, threads);
  p.K = given.output("out", "H L");
  given.run(kernels<T>().kernel, p);
}

template <class T>
void kernel_adjoint(Arguments& given, std::int64_t L, bool truncated, int threads) {
  ModelAdjoint<T> q{};
  take_inputs(given, q, L, truncated, threads);
  q.grad = given.input("grad", "H L");
  q.ddt = given.gradient_of("dt"), q.dLambda = given.gradient_of("Lambda"), q.dP = given.gradient_of("P");
  q.dB = given.gradient_of("B"), q.dC = given.gradient_of("C"), q.dQ = given.gradient_of("Q");
  given.run(kernels<T>().kernel_adjoint, q);
}

template <class T>
void take_inputs(Arguments& given, CauchyMult<T>& p, bool symmetric, int threads) {
  p.v = given.input("v", "... N"), p.z = given.input("z", "L"), p.w = given.input("w", "... N");
  p.B = given.product("..."), p.N = given["N"], p.L = given["L"];
  p.symmetric = symmetric, p.threads = threads;
}

template <class T>
void cauchy_mult(Arguments& given, bool symmetric, int threads) {
  CauchyMult<T> p{};
  take_inputs(given, p, symmetric, threads);
  p.y = given.output("out", "... L");
  given.run(kernels<T>().cauchy_mult, p);
}

template <class T>
void cauchy_mult_adjoint(Arguments& given, bool symmetric, int threads) {
  CauchyMultAdjoint<T> q{};
  take_inputs(given, q, symmetric, threads);
  q.grad = given.input("grad", "... L");
  q.dv = given.gradient_of("v"), q.dz = given.gradient_of("z"), q.dw = given.gradient_of("w");
  given.run(kernels<T>().cauchy_mult_adjoint, q);
}

}  // namespace

void bind(py::module_& m) {
  define(m, "s4_kernel", &kernel<float>, &kernel<double>);
  define(m, "s4_kernel_vjp", &kernel_adjoint<float>, &kernel_adjoint<double>);
  define(m, "cauchy_mult", &cauchy_mult<float>, &cauchy_mult<double>);
  define(m, "cauchy_mult_vjp", &cauchy_mult_adjoint<float>, &cauchy_mult_adjoint<double>);
}

}  // namespace quatrefoil::ssm::s4
