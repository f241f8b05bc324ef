// Views -> args, and the GIL released around the kernels. Computes nothing.
#include "core/host/dispatch.hpp"
#include "core/host/isa.hpp"
#include "py/caster.hpp"
#include "ssm/s4/args.hpp"

QF_TABLE(ssm, s4)

namespace quatrefoil::ssm::s4 {
namespace {

template <class T>
S4Kernel<T> dplr_args(const char* function, const Input& dt, const Input& Lambda, const Input& P, const Input& B, const Input& C,
                      const Input& Q, std::int64_t L, bool truncated, int threads) {
  S4Kernel<T> p{};
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
    kernels<T>().s4_kernel(p);
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
    const S4KernelVjp<T> p{
        f, grad.as<T>(), ddt.as<T>(), dLambda.as<cplx<T>>(), dP.as<cplx<T>>(), dB.as<cplx<T>>(), dC.as<cplx<T>>(), dQ.as<cplx<T>>()};
    py::gil_scoped_release released;
    kernels<T>().s4_kernel_vjp(p);
  });
}

template <class T>
CauchyMult<T> cauchy_args(const char* function, const Input& v, const Input& z, const Input& w, bool symmetric, int threads) {
  CauchyMult<T> p{};
  require(v.rank >= 1 && z.rank == 1 && w.rank == v.rank && w.size() == v.size() && w.dim(1) == v.dim(1), function, "shapes do not fit");
  require(v.dtype == z.dtype && v.dtype == w.dtype && (v.dtype == Dtype::c64 || v.dtype == Dtype::c128), function, "mixed dtypes");
  p.v = v.as<cplx<T>>(), p.z = z.as<cplx<T>>(), p.w = w.as<cplx<T>>();
  p.B = v.batch(1), p.N = v.dim(1), p.L = z.dim(1);
  p.symmetric = symmetric;
  p.threads = threads;
  return p;
}

void cauchy_mult(py::handle v_, py::handle z_, py::handle w_, py::handle y_, bool symmetric, int threads) {
  const Input v(v_, "v"), z(z_, "z"), w(w_, "w");
  const Output y(y_, "out");
  dispatch_real(real_of(v.dtype), "cauchy_mult", [&](auto zero) {
    using T = decltype(zero);
    auto p = cauchy_args<T>("cauchy_mult", v, z, w, symmetric, threads);
    require(y.dtype == v.dtype && y.size() == p.B * p.L, "cauchy_mult", "out does not fit v and z");
    p.y = y.as<cplx<T>>();
    py::gil_scoped_release released;
    kernels<T>().cauchy_mult(p);
  });
}

void cauchy_mult_vjp(py::handle v_, py::handle z_, py::handle w_, py::handle grad_, py::handle dv_, py::handle dz_, py::handle dw_,
                     bool symmetric, int threads) {
  const char* const function = "cauchy_mult_vjp";
  const Input v(v_, "v"), z(z_, "z"), w(w_, "w"), grad(grad_, "grad");
  const Output dv(dv_, "dv"), dz(dz_, "dz"), dw(dw_, "dw");
  dispatch_real(real_of(v.dtype), function, [&](auto zero) {
    using T = decltype(zero);
    const auto f = cauchy_args<T>(function, v, z, w, symmetric, threads);
    require(grad.dtype == v.dtype && grad.size() == f.B * f.L, function, "grad does not fit v and z");
    require(dv.size() == v.size() && dz.size() == z.size() && dw.size() == w.size(), function, "gradients do not fit");
    require(dv.dtype == v.dtype && dz.dtype == v.dtype && dw.dtype == v.dtype, function, "mixed dtypes");
    const CauchyMultVjp<T> p{f, grad.as<cplx<T>>(), dv.as<cplx<T>>(), dz.as<cplx<T>>(), dw.as<cplx<T>>()};
    py::gil_scoped_release released;
    kernels<T>().cauchy_mult_vjp(p);
  });
}

}  // namespace

void bind(py::module_& m) {
  m.def("s4_kernel", &s4_kernel, py::arg("dt"), py::arg("Lambda"), py::arg("P"), py::arg("B"), py::arg("C"), py::arg("Q"), py::arg("out"),
        py::arg("L"), py::arg("truncated"), py::arg("num_threads"));
  m.def("s4_kernel_vjp", &s4_kernel_vjp, py::arg("dt"), py::arg("Lambda"), py::arg("P"), py::arg("B"), py::arg("C"), py::arg("Q"),
        py::arg("grad"), py::arg("ddt"), py::arg("dLambda"), py::arg("dP"), py::arg("dB"), py::arg("dC"), py::arg("dQ"), py::arg("L"),
        py::arg("truncated"), py::arg("num_threads"));
  m.def("cauchy_mult", &cauchy_mult, py::arg("v"), py::arg("z"), py::arg("w"), py::arg("out"), py::arg("symmetric"),
        py::arg("num_threads"));
  m.def("cauchy_mult_vjp", &cauchy_mult_vjp, py::arg("v"), py::arg("z"), py::arg("w"), py::arg("grad"), py::arg("dv"), py::arg("dz"),
        py::arg("dw"), py::arg("symmetric"), py::arg("num_threads"));
}

}  // namespace quatrefoil::ssm::s4
