#pragma once
#include "core/dispatch.hpp"
#include "core/isa.hpp"
#include "py/caster.hpp"
#include "ssm/args.hpp"
#include "ssm/bind_kernel.hpp"

namespace quatrefoil {
namespace {

ssm::Method method_of(const std::string& name) {
  if (name == "auto") return ssm::Method::automatic;
  if (name == "fft") return ssm::Method::fft;
  require(name == "scan", "s4d_conv", "unknown method");
  return ssm::Method::scan;
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
  ssm::S4dConv<T> args(const std::string& disc, const std::string& method, int threads) const {
    ssm::S4dConv<T> p{};
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
    kernels<T>(ssm::table()).layer.s4d_conv(p);
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
    ssm::S4dConvVjp<T> p{};
    p.forward = in.args<T>(disc, method, threads);
    p.grad = grad.as<T>(), p.grad_last = grad_last.as<cplx<T>>(), p.du = du.as<T>();
    p.model.forward = p.forward.model;
    p.model.ddt = ddt.as<T>(), p.model.dA = dA.as<cplx<T>>(), p.model.dC = dC.as<cplx<T>>();
    p.model.dB = in.B ? dB.as<cplx<T>>() : nullptr;
    p.dD = in.D ? dD.as<T>() : nullptr;
    p.dstart = in.start ? dstart.as<cplx<T>>() : nullptr;
    py::gil_scoped_release released;
    kernels<T>(ssm::table()).layer.s4d_conv_vjp(p);
  });
}

void register_layer(py::module_& m) {
  m.def("s4d_conv", &s4d_conv, py::arg("u"), py::arg("dt"), py::arg("A"), py::arg("C"), py::arg("D"), py::arg("B"),
        py::arg("initial_state"), py::arg("out"), py::arg("last_state"), py::arg("disc"), py::arg("method"), py::arg("bidirectional"),
        py::arg("return_state"), py::arg("num_threads"));
  m.def("s4d_conv_vjp", &s4d_conv_vjp, py::arg("u"), py::arg("dt"), py::arg("A"), py::arg("C"), py::arg("D"), py::arg("B"),
        py::arg("initial_state"), py::arg("grad_y"), py::arg("grad_last_state"), py::arg("du"), py::arg("ddt"), py::arg("dA"),
        py::arg("dC"), py::arg("dD"), py::arg("dB"), py::arg("dinitial_state"), py::arg("disc"), py::arg("method"),
        py::arg("bidirectional"), py::arg("return_state"), py::arg("num_threads"));
}

}  // namespace
}  // namespace quatrefoil
