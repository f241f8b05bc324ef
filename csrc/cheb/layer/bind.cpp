// Arrays from Python -> args, checked. Computes nothing.
#include <cstdio>

#include "cheb/layer/args.hpp"
#include "core/host/isa.hpp"
#include "py/arguments.hpp"

QF_TABLE(cheb, layer)

namespace quatrefoil::cheb::layer {
namespace {

// Takes X, W, a and b.
template <class T>
PolyLayer<T> inputs(Arguments& given, int threads) {
  PolyLayer<T> p{};
  p.X = given.input("X", "N I");
  p.W = given.input("W", "I K O");
  const auto a = given.input("a", given.peek(2).rank == 1 ? "K" : "I K"), b = given.input("b", given.peek(3).rank == 1 ? "K" : "I K");
  p.a = a, p.b = b;
  p.N = given["N"], p.I = given["I"], p.K = given["K"], p.O = given["O"], p.threads = threads;
  p.a_stride = a.view().rank == 1 ? 0 : p.K, p.b_stride = b.view().rank == 1 ? 0 : p.K;
  return p;
}

// Runs a kernel, and refuses the number of b that it found to be no weight.
template <class T, class Kernel, class Args>
void run(const Arguments& given, Kernel* kernel, const Args& args, const PolyLayer<T>& p) {
  const std::int64_t at = given.run(kernel, args);
  if (at < 0) return;
  char text[160];
  std::snprintf(text, sizeof text, "number %lld of b is %.17g, expected a positive finite one", (long long)at, double(p.b[at]));
  given.refuse(text);
}

void poly_layer(Arguments& given, int threads) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    PolyLayer<T> p = inputs<T>(given, threads);
    p.Y = given.output("out", "N O");
    run(given, kernels<T>().poly_layer, p, p);
  });
}

void poly_layer_adjoint(Arguments& given, int threads) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    PolyLayerAdjoint<T> q{};
    q.forward = inputs<T>(given, threads);
    q.grad = given.input("grad", "N O");
    q.dX = given.gradient_of("X");
    q.dW = given.gradient_of("W");
    given.no_output("da");
    given.no_output("db");
    run(given, kernels<T>().poly_layer_adjoint, q, q.forward);
  });
}

}  // namespace

void bind(py::module_& m) {
  define(m, "poly_layer", &poly_layer);
  define(m, "poly_layer_vjp", &poly_layer_adjoint);
}

}  // namespace quatrefoil::cheb::layer
