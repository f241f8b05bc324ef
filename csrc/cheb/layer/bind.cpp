// Checks arrays from Python and puts them into args.
#include "cheb/layer/args.hpp"
#include "core/host/isa.hpp"
#include "py/arguments.hpp"

QF_TABLE(cheb, layer)

namespace quatrefoil::cheb::layer {
namespace {

template <class T>
PolyLayer<T> inputs(Arguments& call, int threads) {
  PolyLayer<T> p{};
  p.X = call.input("X", "N I");
  p.W = call.input("W", "I K O");
  const auto a = call.input("a", call.peek(2).rank == 1 ? "K" : "I K"), b = call.input("b", call.peek(3).rank == 1 ? "K" : "I K");
  p.a = a, p.b = b;
  p.N = call["N"], p.I = call["I"], p.K = call["K"], p.O = call["O"], p.threads = threads;
  p.a_stride = a.view().rank == 1 ? 0 : p.K, p.b_stride = b.view().rank == 1 ? 0 : p.K;
  return p;
}

// Runs a kernel, and raises an error for the invalid element of b that it returns.
template <class T, class Kernel, class Args>
void run(const Arguments& call, Kernel* kernel, const Args& args, const PolyLayer<T>& p) {
  const std::int64_t at = call.run(kernel, args);
  if (at >= 0) call.reject_entry("b", at, double(p.b[at]), "a positive finite number");
}

void poly_layer(Arguments& call, int threads) {
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    PolyLayer<T> p = inputs<T>(call, threads);
    p.Y = call.output("out", "N O");
    run(call, kernels<T>().poly_layer, p, p);
  });
}

void poly_layer_adjoint(Arguments& call, int threads) {
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    PolyLayerAdjoint<T> q{};
    q.forward = inputs<T>(call, threads);
    q.grad = call.input("grad", "N O");
    q.dX = call.gradient_of("X");
    q.dW = call.gradient_of("W");
    call.no_output("da");
    call.no_output("db");
    run(call, kernels<T>().poly_layer_adjoint, q, q.forward);
  });
}

}  // namespace

void bind(py::module_& m) {
  define(m, "poly_layer", &poly_layer);
  define(m, "poly_layer_vjp", &poly_layer_adjoint);
}

}  // namespace quatrefoil::cheb::layer
