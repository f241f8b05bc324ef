// Arrays from Python -> args, checked. Computes nothing.
#include "core/host/isa.hpp"
#include "py/arguments.hpp"
#include "ssm/convolution/args.hpp"

QF_TABLE(ssm, convolution)

namespace quatrefoil::ssm::convolution {
namespace {

template <class T>
FftConv<T> inputs(Arguments& given, int threads) {
  FftConv<T> p{};
  p.u = given.input("u", "... H L");
  p.k = given.input("k", "H Lk");
  p.D = given.optional_input("D", "H");
  const auto reverse = given.optional_input("k_reverse", "H Lr");
  p.k_reverse = reverse;
  p.B = given.product("..."), p.H = given["H"], p.L = given["L"], p.Lk = given["Lk"], p.Lr = reverse.view().present ? given["Lr"] : 0;
  p.threads = threads;
  return p;
}

void fft_conv(Arguments& given, int threads) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    FftConv<T> p = inputs<T>(given, threads);
    p.y = given.output_like("out", "u");
    given.run(kernels<T>().fft_conv, p);
  });
}

void fft_conv_adjoint(Arguments& given, int threads) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    FftConvAdjoint<T> q{};
    q.forward = inputs<T>(given, threads);
    q.grad = given.input_like("grad", "u");
    q.du = given.gradient_of("u"), q.dk = given.gradient_of("k");
    q.dD = given.gradient_of("D"), q.dk_reverse = given.gradient_of("k_reverse");
    given.run(kernels<T>().fft_conv_adjoint, q);
  });
}

}  // namespace

void bind(py::module_& m) {
  define(m, "fft_conv", &fft_conv);
  define(m, "fft_conv_vjp", &fft_conv_adjoint);
}

}  // namespace quatrefoil::ssm::convolution
