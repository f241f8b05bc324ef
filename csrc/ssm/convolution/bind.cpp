// Checks arrays from Python and puts them into args.
#include "core/host/isa.hpp"
#include "py/arguments.hpp"
#include "ssm/convolution/args.hpp"

QF_TABLE(ssm, convolution)

namespace quatrefoil::ssm::convolution {
namespace {

template <class T>
void take_inputs(Arguments& call, FftConv<T>& p, int threads) {
  p.u = call.input("u", "... H L");
  p.k = call.input("k", "H Lk");
  p.D = call.optional_input("D", "H");
  const auto reverse = call.optional_input("k_reverse", "H Lr");
  p.k_reverse = reverse;
  p.B = call.product("..."), p.H = call["H"], p.L = call["L"], p.Lk = call["Lk"], p.Lr = reverse.view().present ? call["Lr"] : 0;
  p.threads = threads;
}

template <class T>
void fft_conv(Arguments& call, int threads) {
  FftConv<T> p{};
  take_inputs(call, p, threads);
  p.y = call.output_like("out", "u");
  call.run(kernels<T>().fft_conv, p);
}

template <class T>
void fft_conv_adjoint(Arguments& call, int threads) {
  FftConvAdjoint<T> q{};
  take_inputs(call, q, threads);
  q.grad = call.input_like("grad", "u");
  q.du = call.gradient_of("u"), q.dk = call.gradient_of("k");
  q.dD = call.gradient_of("D"), q.dk_reverse = call.gradient_of("k_reverse");
  call.run(kernels<T>().fft_conv_adjoint, q);
}

}  // namespace

void bind(py::module_& m) {
  define(m, "fft_conv", &fft_conv<float>, &fft_conv<double>);
  define(m, "fft_conv_vjp", &fft_conv_adjoint<float>, &fft_conv_adjoint<double>);
}

}  // namespace quatrefoil::ssm::convolution
