// Arrays from Python -> args, checked. Computes nothing.
#include "core/host/isa.hpp"
#include "py/arguments.hpp"
#include "ssm/s4/args.hpp"

QF_TABLE(ssm, s4)

namespace quatrefoil::ssm::s4 {
namespace {

template <class T>
Model<T> kernel_inputs(Arguments& given, std::int64_t L, bool truncated, int threads) {
  Model<T> p{};
  given.size("L", L);
  p.dt = given.input("dt", "H");
  p.Lambda = given.input("Lambda", "H N"), p.P = given.input("P", "H N"), p.B = given.input("B", "H N"), p.C = given.input("C", "H N");
  p.Q = given.optional_input("Q", "H N");
  p.H = given["H"], p.N = given["N"], p.L = L;
  p.truncated = truncated, p.threads = threads;
  return p;
}

void kernel(Arguments& given, std::int64_t L, bool truncated, int threads) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    Model<T> p = kernel_inputs<T>(given, L, truncated, threads);
    p.K = given.output("out", "H L");
    given.run(kernels<T>().kernel, p);
  });
}

void kernel_adjoint(Arguments& given, std::int64_t L, bool truncated, int threads) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    ModelAdjoint<T> q{};
    q.forward = kernel_inputs<T>(given, L, truncated, threads);
    q.grad = given.input("grad", "H L");
    q.ddt = given.gradient_of("dt"), q.dLambda = given.gradient_of("Lambda"), q.dP = given.gradient_of("P");
    q.dB = given.gradient_of("B"), q.dC = given.gradient_of("C"), q.dQ = given.gradient_of("Q");
    given.run(kernels<T>().kernel_adjoint, q);
  });
}

template <class T>
CauchyMult<T> cauchy_inputs(Arguments& given, bool symmetric, int threads) {
  CauchyMult<T> p{};
  p.v = given.input("v", "... N"), p.z = given.input("z", "L"), p.w = given.input("w", "... N");
  p.B = given.product("..."), p.N = given["N"], p.L = given["L"];
  p.symmetric = symmetric, p.threads = threads;
  return p;
}

void cauchy_mult(Arguments& given, bool symmetric, int threads) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    CauchyMult<T> p = cauchy_inputs<T>(given, symmetric, threads);
    p.y = given.output("out", "... L");
    given.run(kernels<T>().cauchy_mult, p);
  });
}

void cauchy_mult_adjoint(Arguments& given, bool symmetric, int threads) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    CauchyMultAdjoint<T> q{};
    q.forward = cauchy_inputs<T>(given, symmetric, threads);
    q.grad = given.input("grad", "... L");
    q.dv = given.gradient_of("v"), q.dz = given.gradient_of("z"), q.dw = given.gradient_of("w");
    given.run(kernels<T>().cauchy_mult_adjoint, q);
  });
}

}  // namespace

void bind(py::module_& m) {
  define(m, "s4_kernel", &kernel);
  define(m, "s4_kernel_vjp", &kernel_adjoint);
  define(m, "cauchy_mult", &cauchy_mult);
  define(m, "cauchy_mult_vjp", &cauchy_mult_adjoint);
}

}  // namespace quatrefoil::ssm::s4
