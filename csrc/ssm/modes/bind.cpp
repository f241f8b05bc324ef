// Views -> args, and the GIL released around the kernels. Computes nothing.
#include "core/host/dispatch.hpp"
#include "core/host/isa.hpp"
#include "py/caster.hpp"
#include "ssm/modes/args.hpp"

QF_TABLE(ssm, modes)

namespace quatrefoil::ssm::modes {
namespace {

// v (M.., H.., N) and x (H.., N) -> sizes and pointers, in a struct that names them so.
template <class T, class P>
void place_poles(P& p, const char* function, const Input& v, const Input& x, std::int64_t L, int threads) {
  require(x.rank >= 1 && v.rank >= x.rank && L >= 0, function, "v does not fit x, or L < 0");
  for (int i = 1; i <= x.rank; ++i) require(v.dim(i) == x.dim(i), function, "v does not fit x");
  require(v.dtype == x.dtype && (v.dtype == Dtype::c64 || v.dtype == Dtype::c128), function, "mixed dtypes");
  p.N = x.dim(1), p.H = x.batch(1), p.M = v.batch(x.rank), p.L = L;
  p.v = v.as<cplx<T>>(), p.x = x.as<cplx<T>>();
  p.threads = threads;
}

template <bool conj>
void log_vandermonde(py::handle v_, py::handle x_, py::handle y_, std::int64_t L, int threads) {
  const Input v(v_, "v"), x(x_, "x");
  const Output y(y_, "out");
  const Dtype real = v.dtype == Dtype::c64 ? Dtype::f32 : Dtype::f64;
  dispatch_real(real, "log_vandermonde", [&](auto zero) {
    using T = decltype(zero);
    LogVandermonde<T> p{};
    place_poles<T>(p, "log_vandermonde", v, x, L, threads);
    require(y.dtype == (conj ? real : v.dtype) && y.size() == p.M * p.H * L, "log_vandermonde", "out does not fit v and L");
    p.y = y.as<T>(), p.conj = conj;
    py::gil_scoped_release released;
    kernels<T>().log_vandermonde(p);
  });
}

template <bool conj>
void log_vandermonde_vjp(py::handle v_, py::handle x_, py::handle grad_, py::handle dv_, py::handle dx_, std::int64_t L, int threads) {
  const char* const function = "log_vandermonde_vjp";
  const Input v(v_, "v"), x(x_, "x"), grad(grad_, "grad");
  const Output dv(dv_, "dv"), dx(dx_, "dx");
  const Dtype real = v.dtype == Dtype::c64 ? Dtype::f32 : Dtype::f64;
  dispatch_real(real, function, [&](auto zero) {
    using T = decltype(zero);
    LogVandermondeVjp<T> p{};
    place_poles<T>(p.forward, function, v, x, L, threads);
    require(grad.dtype == (conj ? real : v.dtype) && grad.size() == p.forward.M * p.forward.H * L, function, "grad does not fit v and L");
    require(dv.size() == v.size() && dx.size() == x.size() && dv.dtype == v.dtype && dx.dtype == v.dtype, function, "gradients do not fit");
    p.forward.conj = conj;
    p.grad = grad.as<T>(), p.dv = dv.as<cplx<T>>(), p.dx = dx.as<cplx<T>>();
    py::gil_scoped_release released;
    kernels<T>().log_vandermonde_vjp(p);
  });
}

template <class T>
LogVandermondeTranspose<T> transpose_args(const char* function, const Input& u, const Input& v, const Input& x, std::int64_t L,
                                          int threads) {
  LogVandermondeTranspose<T> p{};
  place_poles<T>(p, function, v, x, L, threads);
  require(u.size() == p.M * p.H * L && complex_of(u.dtype) == v.dtype, function, "u does not fit v and L");
  p.u = u.as<T>();
  return p;
}

void log_vandermonde_transpose(py::handle u_, py::handle v_, py::handle x_, py::handle y_, std::int64_t L, int threads) {
  const Input u(u_, "u"), v(v_, "v"), x(x_, "x");
  const Output y(y_, "out");
  dispatch_real(u.dtype, "log_vandermonde_transpose", [&](auto zero) {
    using T = decltype(zero);
    auto p = transpose_args<T>("log_vandermonde_transpose", u, v, x, L, threads);
    require(y.dtype == v.dtype && y.size() == v.size(), "log_vandermonde_transpose", "out does not fit v");
    p.y = y.as<cplx<T>>();
    py::gil_scoped_release released;
    kernels<T>().log_vandermonde_transpose(p);
  });
}

void log_vandermonde_transpose_vjp(py::handle u_, py::handle v_, py::handle x_, py::handle grad_, py::handle du_, py::handle dv_,
                                   py::handle dx_, std::int64_t L, int threads) {
  const char* const function = "log_vandermonde_transpose_vjp";
  const Input u(u_, "u"), v(v_, "v"), x(x_, "x"), grad(grad_, "grad");
  const Output du(du_, "du"), dv(dv_, "dv"), dx(dx_, "dx");
  dispatch_real(u.dtype, function, [&](auto zero) {
    using T = decltype(zero);
    const auto f = transpose_args<T>(function, u, v, x, L, threads);
    require(grad.dtype == v.dtype && grad.size() == v.size(), function, "grad does not fit v");
    require(du.size() == u.size() && dv.size() == v.size() && dx.size() == x.size(), function, "gradients do not fit");
    require(du.dtype == u.dtype && dv.dtype == v.dtype && dx.dtype == v.dtype, function, "mixed dtypes");
    const LogVandermondeTransposeVjp<T> p{f, grad.as<cplx<T>>(), du.as<T>(), dv.as<cplx<T>>(), dx.as<cplx<T>>()};
    py::gil_scoped_release released;
    kernels<T>().log_vandermonde_transpose_vjp(p);
  });
}

}  // namespace

void bind(py::module_& m) {
  const auto both = [&](const char* name, auto forward, const char* name_vjp, auto backward) {
    m.def(name, forward, py::arg("v"), py::arg("x"), py::arg("out"), py::arg("L"), py::arg("num_threads"));
    m.def(name_vjp, backward, py::arg("v"), py::arg("x"), py::arg("grad"), py::arg("dv"), py::arg("dx"), py::arg("L"),
          py::arg("num_threads"));
  };
  both("log_vandermonde", &log_vandermonde<true>, "log_vandermonde_vjp", &log_vandermonde_vjp<true>);
  both("log_vandermonde_complex", &log_vandermonde<false>, "log_vandermonde_complex_vjp", &log_vandermonde_vjp<false>);
  m.def("log_vandermonde_transpose", &log_vandermonde_transpose, py::arg("u"), py::arg("v"), py::arg("x"), py::arg("out"), py::arg("L"),
        py::arg("num_threads"));
  m.def("log_vandermonde_transpose_vjp", &log_vandermonde_transpose_vjp, py::arg("u"), py::arg("v"), py::arg("x"), py::arg("grad"),
        py::arg("du"), py::arg("dv"), py::arg("dx"), py::arg("L"), py::arg("num_threads"));
}

}  // namespace quatrefoil::ssm::modes
