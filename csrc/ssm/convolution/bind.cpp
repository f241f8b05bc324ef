// Views -> args, and the GIL released around the kernels. Computes nothing.
#include "core/host/dispatch.hpp"
#include "core/host/isa.hpp"
#include "py/caster.hpp"
#include "ssm/convolution/args.hpp"

QF_TABLE(ssm, convolution)

namespace quatrefoil::ssm::convolution {
namespace {

template <class T>
FftConv<T> conv_args(const char* function, const Input& u, const Input& k, const Input& D, const Input& k_reverse, int threads) {
  FftConv<T> p{};
  p.B = u.batch(2), p.H = u.dim(2), p.L = u.dim(1), p.Lk = k.dim(1), p.Lr = k_reverse ? k_reverse.dim(1) : 0;
  require(u.rank >= 2 && k.rank == 2 && k.dim(2) == p.H, function, "k does not fit u");
  require(!D || D.size() == p.H, function, "D does not fit u");
  require(!k_reverse || (k_reverse.rank == 2 && k_reverse.dim(2) == p.H), function, "k_reverse does not fit u");
  require(k.dtype == u.dtype && (!D || D.dtype == u.dtype) && (!k_reverse || k_reverse.dtype == u.dtype), function, "mixed dtypes");
  p.u = u.as<T>(), p.k = k.as<T>(), p.D = D.as<T>(), p.k_reverse = k_reverse.as<T>();
  p.threads = threads;
  return p;
}

void fft_conv(py::handle u_, py::handle k_, py::handle D_, py::handle k_reverse_, py::handle y_, int threads) {
  const Input u(u_, "u"), k(k_, "k"), D(D_, "D"), k_reverse(k_reverse_, "k_reverse");
  const Output y(y_, "out");
  require(y.size() == u.size() && y.dtype == u.dtype, "fft_conv", "out does not fit u");
  dispatch_real(u.dtype, "fft_conv", [&](auto zero) {
    using T = decltype(zero);
    auto p = conv_args<T>("fft_conv", u, k, D, k_reverse, threads);
    p.y = y.as<T>();
    py::gil_scoped_release released;
    kernels<T>().fft_conv(p);
  });
}

void fft_conv_vjp(py::handle u_, py::handle k_, py::handle D_, py::handle k_reverse_, py::handle grad_, py::handle du_, py::handle dk_,
                  py::handle dD_, py::handle dk_reverse_, int threads) {
  const Input u(u_, "u"), k(k_, "k"), D(D_, "D"), k_reverse(k_reverse_, "k_reverse"), grad(grad_, "grad");
  const Output du(du_, "du"), dk(dk_, "dk"), dD(dD_, "dD"), dk_reverse(dk_reverse_, "dk_reverse");
  require(grad.size() == u.size() && du.size() == u.size() && dk.size() == k.size(), "fft_conv_vjp", "gradients do not fit");
  require((!dD || dD.size() == D.size()) && (!dk_reverse || dk_reverse.size() == k_reverse.size()), "fft_conv_vjp", "gradients do not fit");
  require(grad.dtype == u.dtype && du.dtype == u.dtype && dk.dtype == u.dtype && (!dD || dD.dtype == u.dtype) &&
              (!dk_reverse || dk_reverse.dtype == u.dtype),
          "fft_conv_vjp", "mixed dtypes");
  dispatch_real(u.dtype, "fft_conv_vjp", [&](auto zero) {
    using T = decltype(zero);
    const FftConvVjp<T> p{
        conv_args<T>("fft_conv_vjp", u, k, D, k_reverse, threads), grad.as<T>(), du.as<T>(), dk.as<T>(), dD.as<T>(), dk_reverse.as<T>()};
    py::gil_scoped_release released;
    kernels<T>().fft_conv_vjp(p);
  });
}

}  // namespace

void bind(py::module_& m) {
  m.def("fft_conv", &fft_conv, py::arg("u"), py::arg("k"), py::arg("D"), py::arg("k_reverse"), py::arg("out"), py::arg("num_threads"));
  m.def("fft_conv_vjp", &fft_conv_vjp, py::arg("u"), py::arg("k"), py::arg("D"), py::arg("k_reverse"), py::arg("grad"), py::arg("du"),
        py::arg("dk"), py::arg("dD"), py::arg("dk_reverse"), py::arg("num_threads"));
}

}  // namespace quatrefoil::ssm::convolution
