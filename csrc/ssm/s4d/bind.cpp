// Views -> args, and the GIL released around the kernels. Computes nothing.
#include <string>

#include "core/host/dispatch.hpp"
#include "core/host/isa.hpp"
#include "py/caster.hpp"
#include "ssm/s4d/args.hpp"

QF_TABLE(ssm, s4d)

namespace quatrefoil::ssm::s4d {
namespace {

Disc disc_of(const char* function, const std::string& name) {
  if (name == "zoh") return Disc::zoh;
  if (name == "bilinear") return Disc::bilinear;
  require(name == "dss", function, "unknown disc");
  return Disc::dss;
}

template <class T>
S4dKernel<T> kernel_args(const char* function, const Input& dt, const Input& A, const Input& C, const Input& B, std::int64_t L,
                         const std::string& disc, int threads) {
  S4dKernel<T> p{};
  p.H = A.dim(2), p.N = A.dim(1), p.M = C.batch(2), p.L = L;
  require(A.rank == 2 && C.rank >= 2 && C.dim(2) == p.H && C.dim(1) == p.N, function, "C does not fit A");
  require(dt.size() == p.H && (!B || B.size() == A.size()), function, "dt or B does not fit A");
  const Dtype wanted = complex_of(dt.dtype);
  require(A.dtype == wanted && C.dtype == wanted && (!B || B.dtype == wanted) && L >= 0, function, "mixed dtypes or L < 0");
  p.dt = dt.as<T>(), p.A = A.as<cplx<T>>(), p.C = C.as<cplx<T>>(), p.B = B.as<cplx<T>>();
  p.disc = disc_of(function, disc);
  p.threads = threads;
  return p;
}

void s4d_kernel(py::handle dt_, py::handle A_, py::handle C_, py::handle B_, py::handle K_, std::int64_t L, const std::string& disc,
                int threads) {
  const Input dt(dt_, "dt"), A(A_, "A"), C(C_, "C"), B(B_, "B");
  const Output K(K_, "out");
  dispatch_real(dt.dtype, "s4d_kernel", [&](auto zero) {
    using T = decltype(zero);
    auto p = kernel_args<T>("s4d_kernel", dt, A, C, B, L, disc, threads);
    require(K.dtype == dt.dtype && K.size() == p.M * p.H * L, "s4d_kernel", "out does not fit C and L");
    p.K = K.as<T>();
    py::gil_scoped_release released;
    kernels<T>().s4d_kernel(p);
  });
}

void s4d_kernel_vjp(py::handle dt_, py::handle A_, py::handle C_, py::handle B_, py::handle grad_, py::handle ddt_, py::handle dA_,
                    py::handle dC_, py::handle dB_, std::int64_t L, const std::string& disc, int threads) {
  const char* const function = "s4d_kernel_vjp";
  const Input dt(dt_, "dt"), A(A_, "A"), C(C_, "C"), B(B_, "B"), grad(grad_, "grad");
  const Output ddt(ddt_, "ddt"), dA(dA_, "dA"), dC(dC_, "dC"), dB(dB_, "dB");
  dispatch_real(dt.dtype, function, [&](auto zero) {
    using T = decltype(zero);
    const auto f = kernel_args<T>(function, dt, A, C, B, L, disc, threads);
    require(grad.dtype == dt.dtype && grad.size() == f.M * f.H * L, function, "grad does not fit C and L");
    require(ddt.size() == dt.size() && dA.size() == A.size() && dC.size() == C.size() && (!dB || dB.size() == B.size()), function,
            "gradients do not fit");
    require(ddt.dtype == dt.dtype && dA.dtype == A.dtype && dC.dtype == A.dtype && (!dB || dB.dtype == A.dtype), function, "mixed dtypes");
    const S4dKernelVjp<T> p{f, grad.as<T>(), ddt.as<T>(), dA.as<cplx<T>>(), dC.as<cplx<T>>(), dB.as<cplx<T>>()};
    py::gil_scoped_release released;
    kernels<T>().s4d_kernel_vjp(p);
  });
}

Method method_of(const std::string& name) {
  if (name == "auto") return Method::automatic;
  if (name == "fft") return Method::fft;
  require(name == "scan", "s4d_conv", "unknown method");
  return Method::scan;
}

struct LayerInputs {
  const Input u, dt, A, C, D, B, start;
  const bool both;
  LayerInputs(const char* function, py::handle u_, py::handle dt_, py::handle A_, py::handle C_, py::handle D_, py::handle B_,
              py::handle start_, bool both)
      : u(u_, "u"), dt(dt_, "dt"), A(A_, "A"), C(C_, "C"), D(D_, "D"), B(B_, "B"), start(start_, "initial_state"), both(both) {
    const std::int64_t H = A.dim(2), N = A.dim(1);
    require(u.rank >= 2 && u.dim(2) == H && A.rank == 2 && dt.size() == H, function, "u, dt and A do not fit");
    require(C.rank >= 2 && C.rank <= 3 && C.dim(2) == H && C.dim(1) == N && (!both || C.dim(3) == 2), function, "C does not fit A");
    require((!D || D.size() == outputs() * H) && (!B || B.size() == H * N), function, "D or B does not fit");
    require(!start || start.size() == u.batch(2) * H * N, function, "initial_state does not fit");
    const Dtype wide = complex_of(u.dtype);
    require(dt.dtype == u.dtype && (!D || D.dtype == u.dtype) && A.dtype == wide && C.dtype == wide && (!B || B.dtype == wide) &&
                (!start || start.dtype == wide),
            function, "mixed dtypes");
  }
  std::int64_t outputs() const { return both || C.rank < 3 ? 1 : C.dim(3); }

  template <class T>
  S4dConv<T> args(const std::string& disc, const std::string& method, int threads) const {
    S4dConv<T> p{};
    p.model = {dt.as<T>(), A.as<cplx<T>>(), C.as<cplx<T>>(), B.as<cplx<T>>(),           nullptr, C.rank < 3 ? 1 : C.dim(3),
               u.dim(2),   A.dim(1),        u.dim(1),        disc_of("s4d_conv", disc), threads};
    p.u = u.as<T>(), p.D = D.as<T>(), p.start = start.as<cplx<T>>();
    p.B = u.batch(2), p.both = both, p.method = method_of(method);
    return p;
  }
};

void s4d_conv(py::handle u, py::handle dt, py::handle A, py::handle C, py::handle D, py::handle B, py::handle start, py::handle y_,
              py::handle last_, const std::string& disc, const std::string& method, bool both, bool, int threads) {
  const char* function = "s4d_conv";
  const LayerInputs in(function, u, dt, A, C, D, B, start, both);
  const Output y(y_, "out"), last(last_, "last_state");
  require(y.size() == in.u.size() * in.outputs() && y.dtype == in.u.dtype, function, "out does not fit");
  require(!last || (last.size() == in.u.batch(2) * in.A.size() && last.dtype == in.A.dtype), function, "last_state does not fit");
  dispatch_real(in.u.dtype, function, [&](auto zero) {
    using T = decltype(zero);
    auto p = in.args<T>(disc, method, threads);
    p.y = y.as<T>(), p.last = last.as<cplx<T>>();
    py::gil_scoped_release released;
    kernels<T>().s4d_conv(p);
  });
}

void s4d_conv_vjp(py::handle u, py::handle dt, py::handle A, py::handle C, py::handle D, py::handle B, py::handle start, py::handle grad_,
                  py::handle grad_last_, py::handle du_, py::handle ddt_, py::handle dA_, py::handle dC_, py::handle dD_, py::handle dB_,
                  py::handle dstart_, const std::string& disc, const std::string& method, bool both, bool, int threads) {
  const char* function = "s4d_conv_vjp";
  const LayerInputs in(function, u, dt, A, C, D, B, start, both);
  const Input grad(grad_, "grad_y"), grad_last(grad_last_, "grad_last_state");
  const Output du(du_, "du"), ddt(ddt_, "ddt"), dA(dA_, "dA"), dC(dC_, "dC"), dD(dD_, "dD"), dB(dB_, "dB"),
      dstart(dstart_, "dinitial_state");
  const auto same = [&](const View& g, const View& of) {
    require(g.size() == of.size() && g.dtype == of.dtype, function, "gradients do not fit");
  };
  require(grad.size() == in.u.size() * in.outputs() && grad.dtype == in.u.dtype, function, "grad_y does not fit");
  require(!grad_last || (grad_last.size() == in.u.batch(2) * in.A.size() && grad_last.dtype == in.A.dtype), function,
          "grad_last_state does not fit");
  same(du, in.u), same(ddt, in.dt), same(dA, in.A), same(dC, in.C);
  if (in.D) same(dD, in.D);
  if (in.B) same(dB, in.B);
  if (in.start) same(dstart, in.start);
  dispatch_real(in.u.dtype, function, [&](auto zero) {
    using T = decltype(zero);
    S4dConvVjp<T> p{};
    p.forward = in.args<T>(disc, method, threads);
    p.grad = grad.as<T>(), p.grad_last = grad_last.as<cplx<T>>(), p.du = du.as<T>();
    p.model.forward = p.forward.model;
    p.model.ddt = ddt.as<T>(), p.model.dA = dA.as<cplx<T>>(), p.model.dC = dC.as<cplx<T>>();
    p.model.dB = in.B ? dB.as<cplx<T>>() : nullptr;
    p.dD = in.D ? dD.as<T>() : nullptr;
    p.dstart = in.start ? dstart.as<cplx<T>>() : nullptr;
    py::gil_scoped_release released;
    kernels<T>().s4d_conv_vjp(p);
  });
}

}  // namespace

void bind(py::module_& m) {
  m.def("s4d_kernel", &s4d_kernel, py::arg("dt"), py::arg("A"), py::arg("C"), py::arg("B"), py::arg("out"), py::arg("L"), py::arg("disc"),
        py::arg("num_threads"));
  m.def("s4d_kernel_vjp", &s4d_kernel_vjp, py::arg("dt"), py::arg("A"), py::arg("C"), py::arg("B"), py::arg("grad"), py::arg("ddt"),
        py::arg("dA"), py::arg("dC"), py::arg("dB"), py::arg("L"), py::arg("disc"), py::arg("num_threads"));
  m.def("s4d_conv", &s4d_conv, py::arg("u"), py::arg("dt"), py::arg("A"), py::arg("C"), py::arg("D"), py::arg("B"),
        py::arg("initial_state"), py::arg("out"), py::arg("last_state"), py::arg("disc"), py::arg("method"), py::arg("bidirectional"),
        py::arg("return_state"), py::arg("num_threads"));
  m.def("s4d_conv_vjp", &s4d_conv_vjp, py::arg("u"), py::arg("dt"), py::arg("A"), py::arg("C"), py::arg("D"), py::arg("B"),
        py::arg("initial_state"), py::arg("grad_y"), py::arg("grad_last_state"), py::arg("du"), py::arg("ddt"), py::arg("dA"),
        py::arg("dC"), py::arg("dD"), py::arg("dB"), py::arg("dinitial_state"), py::arg("disc"), py::arg("method"),
        py::arg("bidirectional"), py::arg("return_state"), py::arg("num_threads"));
}

}  // namespace quatrefoil::ssm::s4d
