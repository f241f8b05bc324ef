#pragma once
#include <string>

#include "core/dispatch.hpp"
#include "core/isa.hpp"
#include "py/caster.hpp"
#include "ssm/args.hpp"

namespace quatrefoil {
namespace {

ssm::Disc disc_of(const char* function, const std::string& name) {
  if (name == "zoh") return ssm::Disc::zoh;
  if (name == "bilinear") return ssm::Disc::bilinear;
  require(name == "dss", function, "unknown disc");
  return ssm::Disc::dss;
}

Dtype complex_of(Dtype dtype) { return dtype == Dtype::f32 ? Dtype::c64 : Dtype::c128; }

template <class T>
ssm::S4dKernel<T> kernel_args(const char* function, const Input& dt, const Input& A, const Input& C, const Input& B, std::int64_t L,
                              const std::string& disc, int threads) {
  ssm::S4dKernel<T> p{};
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
    kernels<T>(ssm::table()).kernel.s4d_kernel(p);
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
    const ssm::S4dKernelVjp<T> p{f, grad.as<T>(), ddt.as<T>(), dA.as<cplx<T>>(), dC.as<cplx<T>>(), dB.as<cplx<T>>()};
    py::gil_scoped_release released;
    kernels<T>(ssm::table()).kernel.s4d_kernel_vjp(p);
  });
}

void register_kernel(py::module_& m) {
  m.def("s4d_kernel", &s4d_kernel, py::arg("dt"), py::arg("A"), py::arg("C"), py::arg("B"), py::arg("out"), py::arg("L"), py::arg("disc"),
        py::arg("num_threads"));
  m.def("s4d_kernel_vjp", &s4d_kernel_vjp, py::arg("dt"), py::arg("A"), py::arg("C"), py::arg("B"), py::arg("grad"), py::arg("ddt"),
        py::arg("dA"), py::arg("dC"), py::arg("dB"), py::arg("L"), py::arg("disc"), py::arg("num_threads"));
}

}  // namespace
}  // namespace quatrefoil
