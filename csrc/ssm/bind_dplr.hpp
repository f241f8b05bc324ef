#pragma once
#include "core/dispatch.hpp"
#include "core/isa.hpp"
#include "py/caster.hpp"
#include "ssm/args.hpp"
#include "ssm/bind_kernel.hpp"

namespace quatrefoil {
namespace {

template <class T>
ssm::S4Kernel<T> dplr_args(const char* function, const Input& dt, const Input& Lambda, const Input& P, const Input& B, const Input& C,
                           const Input& Q, std::int64_t L, bool truncated, int threads) {
  ssm::S4Kernel<T> p{};
  p.H = Lambda.dim(2), p.N = Lambda.dim(1), p.L = L;
  require(Lambda.rank == 2 && dt.size() == p.H && L >= 0, function, "dt does not fit Lambda, or L < 0");
  for (const Input* x : {&Lambda, &P, &B, &C, &Q})
    require(!*x || (x->size() == Lambda.size() && x->dtype == complex_of(dt.dtype)), function, "shapes or dtypes do not fit");
  p.dt = dt.as<T>(), p.Lambda = Lambda.as<cplx<T>>(), p.P = P.as<cplx<T>>(), p.B = B.as<cplx<T>>(), p.C = C.as<cplx<T>>();
  p.Q = Q.as<cplx<T>>();
  p.truncated = truncated;
  p.threads = threads;
  return p;
}

void s4_kernel(py::handle dt_, py::handle Lambda_, py::handle P_, py::handle B_, py::handle C_, py::handle Q_, py::handle K_,
               std::int64_t L, bool truncated, int threads) {
  const Input dt(dt_, "dt"), Lambda(Lambda_, "Lambda"), P(P_, "P"), B(B_, "B"), C(C_, "C"), Q(Q_, "Q");
  const Output K(K_, "out");
  dispatch_real(dt.dtype, "s4_kernel", [&](auto zero) {
    using T = decltype(zero);
    auto p = dplr_args<T>("s4_kernel", dt, Lambda, P, B, C, Q, L, truncated, threads);
    require(K.dtype == dt.dtype && K.size() == p.H * L, "s4_kernel", "out does not fit Lambda and L");
    p.K = K.as<T>();
    py::gil_scoped_release released;
    kernels<T>(ssm::table()).dplr.s4_kernel(p);
  });
}

void s4_kernel_vjp(py::handle dt_, py::handle Lambda_, py::handle P_, py::handle B_, py::handle C_, py::handle Q_, py::handle grad_,
                   py::handle ddt_, py::handle dLambda_, py::handle dP_, py::handle dB_, py::handle dC_, py::handle dQ_, std::int64_t L,
                   bool truncated, int threads) {
  const char* const function = "s4_kernel_vjp";
  const Input dt(dt_, "dt"), Lambda(Lambda_, "Lambda"), P(P_, "P"), B(B_, "B"), C(C_, "C"), Q(Q_, "Q"), grad(grad_, "grad");
  const Output ddt(ddt_, "ddt"), dLambda(dLambda_, "dLambda"), dP(dP_, "dP"), dB(dB_, "dB"), dC(dC_, "dC"), dQ(dQ_, "dQ");
  dispatch_real(dt.dtype, function, [&](auto zero) {
    using T = decltype(zero);
    const auto f = dplr_args<T>(function, dt, Lambda, P, B, C, Q, L, truncated, threads);
    require(grad.dtype == dt.dtype && grad.size() == f.H * L, function, "grad does not fit Lambda and L");
    require(ddt.size() == dt.size() && ddt.dtype == dt.dtype, function, "gradients do not fit");
    for (const Output* x : {&dLambda, &dP, &dB, &dC})
      require(x->size() == Lambda.size() && x->dtype == Lambda.dtype, function, "gradients do not fit");
    require(bool(dQ) == bool(Q) && (!dQ || (dQ.size() == Q.size() && dQ.dtype == Q.dtype)), function, "gradients do not fit");
    const ssm::S4KernelVjp<T> p{
        f, grad.as<T>(), ddt.as<T>(), dLambda.as<cplx<T>>(), dP.as<cplx<T>>(), dB.as<cplx<T>>(), dC.as<cplx<T>>(), dQ.as<cplx<T>>()};
    py::gil_scoped_release released;
    kernels<T>(ssm::table()).dplr.s4_kernel_vjp(p);
  });
}

void register_dplr(py::module_& m) {
  m.def("s4_kernel", &s4_kernel, py::arg("dt"), py::arg("Lambda"), py::arg("P"), py::arg("B"), py::arg("C"), py::arg("Q"), py::arg("out"),
        py::arg("L"), py::arg("truncated"), py::arg("num_threads"));
  m.def("s4_kernel_vjp", &s4_kernel_vjp, py::arg("dt"), py::arg("Lambda"), py::arg("P"), py::arg("B"), py::arg("C"), py::arg("Q"),
        py::arg("grad"), py::arg("ddt"), py::arg("dLambda"), py::arg("dP"), py::arg("dB"), py::arg("dC"), py::arg("dQ"), py::arg("L"),
        py::arg("truncated"), py::arg("num_threads"));
}

}  // namespace
}  // namespace quatrefoil
