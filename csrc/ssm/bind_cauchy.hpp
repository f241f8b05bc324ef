#pragma once
#include "core/dispatch.hpp"
#include "core/isa.hpp"
#include "py/caster.hpp"
#include "ssm/args.hpp"
#include "ssm/bind_scan.hpp"

namespace quatrefoil {
namespace {

template <class T>
ssm::CauchyMult<T> cauchy_args(const char* function, const Input& v, const Input& z, const Input& w, bool symmetric, int threads) {
  ssm::CauchyMult<T> p{};
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
  dispatch_real(real_part(v.dtype), "cauchy_mult", [&](auto zero) {
    using T = decltype(zero);
    auto p = cauchy_args<T>("cauchy_mult", v, z, w, symmetric, threads);
    require(y.dtype == v.dtype && y.size() == p.B * p.L, "cauchy_mult", "out does not fit v and z");
    p.y = y.as<cplx<T>>();
    py::gil_scoped_release released;
    kernels<T>(ssm::table()).cauchy.cauchy_mult(p);
  });
}

void cauchy_mult_vjp(py::handle v_, py::handle z_, py::handle w_, py::handle grad_, py::handle dv_, py::handle dz_, py::handle dw_,
                     bool symmetric, int threads) {
  const char* const function = "cauchy_mult_vjp";
  const Input v(v_, "v"), z(z_, "z"), w(w_, "w"), grad(grad_, "grad");
  const Output dv(dv_, "dv"), dz(dz_, "dz"), dw(dw_, "dw");
  dispatch_real(real_part(v.dtype), function, [&](auto zero) {
    using T = decltype(zero);
    const auto f = cauchy_args<T>(function, v, z, w, symmetric, threads);
    require(grad.dtype == v.dtype && grad.size() == f.B * f.L, function, "grad does not fit v and z");
    require(dv.size() == v.size() && dz.size() == z.size() && dw.size() == w.size(), function, "gradients do not fit");
    require(dv.dtype == v.dtype && dz.dtype == v.dtype && dw.dtype == v.dtype, function, "mixed dtypes");
    const ssm::CauchyMultVjp<T> p{f, grad.as<cplx<T>>(), dv.as<cplx<T>>(), dz.as<cplx<T>>(), dw.as<cplx<T>>()};
    py::gil_scoped_release released;
    kernels<T>(ssm::table()).cauchy.cauchy_mult_vjp(p);
  });
}

void register_cauchy(py::module_& m) {
  m.def("cauchy_mult", &cauchy_mult, py::arg("v"), py::arg("z"), py::arg("w"), py::arg("out"), py::arg("symmetric"),
        py::arg("num_threads"));
  m.def("cauchy_mult_vjp", &cauchy_mult_vjp, py::arg("v"), py::arg("z"), py::arg("w"), py::arg("grad"), py::arg("dv"), py::arg("dz"),
        py::arg("dw"), py::arg("symmetric"), py::arg("num_threads"));
}

}  // namespace
}  // namespace quatrefoil
