// Checks arrays from Python and puts them into args.
#include "core/host/isa.hpp"
#include "py/arguments.hpp"
#include "ssm/convolution/args.hpp"

QF_TABLE(ssm, convolution)

namespace quatrefoil::ssm::convolution {
namespace {

template <class T>
void take_inputs(Arguments& given, FftConv<T>& p, int threads) {
  p.u = given.input("u", "... H L");
  p.k = given.input("k", "H Lk");
  p.D = given.optional_input("D", "H");
  const auto reverse = given.optional_input("k_reverse", "H Lr");
  p.k_reverse = reverse;
  p.B = given.product("..."), p.H = given["H"], p.L = given["L"], p.Lk = given["Lk"], p.Lr = reverse.view().present ? given["Lr"] : 0;
  p.threads = threads;
}

template <class T>
void fft_conv(Arguments& given, int threads) {
  FftConv<T> p{};
  take_inputs(given, p, threads);
  p.y = given.output_like("out", "u");
  given.run(kernels<T>().fft_conv, p);
}

template <class T>
void fft_conv_adjoint(Arguments& given, int threads) {
  FftConvAdjoint<T> q{};
  take_inputs(given, q, threads);
  q.grad = given.input_like("grad", "u");
  q.du = given.gradient_of("u"), q.dk = given.gradient_of("k");
  q.dD = given.gradient_of("D"), q.dk_reverse = given.gradient_of("k_reverse");
  given.run(kernels<T>().fft_conv_adjoint, q);
}

}  // namespace

void bind(py::module_& m) {
  define(m, "fft_conv", &fft_conv<float>, &fft_conv<double>);
  define(m, "fft_conv_vjp", &fft_conv_adjoint<float>, &fft_conv_adjoint<double>);
}

}  // namespace quatrefoil::ssm::convolution
