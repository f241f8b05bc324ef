// Arrays from Python -> args, checked. Computes nothing.
#include "core/host/isa.hpp"
#include "core/host/split.hpp"
#include "py/arguments.hpp"
#include "ssm/modes/args.hpp"

QF_TABLE(ssm, modes)

namespace quatrefoil::ssm::modes {
namespace {

// The axes of x tell which of v are whose; x comes after v.
void know_sizes(Arguments& given, const View& x, std::int64_t L) {
  given.size("L", L);
  given.axes("H..", x.shape, x.rank > 0 ? x.rank - 1 : 0);
}
// v (M.., H.., N) and x (H.., N), in a struct that names them so.
template <class P>
void take_poles(Arguments& given, P& p, int threads) {
  p.v = given.input("v", "M.. H.. N");
  p.x = given.input("x", "H.. N");
  p.M = given.product("M.."), p.H = given.product("H.."), p.N = given["N"], p.L = given["L"], p.threads = threads;
}
// An array over l, which may be real or complex.
template <class T>
T* values(const Fit::Fitted& array, bool real) {
  if (real) return array;
  return reinterpret_cast<T*>(static_cast<cplx<T>*>(array));
}

template <bool conj>
void log_vandermonde(Arguments& given, std::int64_t L, int threads) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    LogVandermonde<T> p{};
    know_sizes(given, given.peek(1), L);
    take_poles(given, p, threads);
    p.conj = conj;
    p.y = values<T>(given.output("out", "M.. H.. L"), conj);
    given.run(kernels<T>().log_vandermonde, p);
  });
}

template <bool conj>
void log_vandermonde_adjoint(Arguments& given, std::int64_t L, int threads) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    LogVandermondeAdjoint<T> q{};
    know_sizes(given, given.peek(1), L);
    take_poles(given, q.forward, threads);
    q.forward.conj = conj;
    q.grad = values<T>(given.input("grad", "M.. H.. L"), conj);
    q.dv = given.gradient_of("v"), q.dx = given.gradient_of("x");
    given.run(kernels<T>().log_vandermonde_adjoint, q);
  });
}

template <bool complex, class T>
LogVandermondeTranspose<T> transpose_inputs(Arguments& given, std::int64_t L, int threads) {
  LogVandermondeTranspose<T> p{};
  know_sizes(given, given.peek(2), L);
  const auto u = given.input("u", "M.. H.. L");
  take_poles(given, p, threads);
  p.u = values<T>(u, !complex), p.complex = complex;
  return p;
}

template <bool complex>
void log_vandermonde_transpose(Arguments& given, std::int64_t L, int threads) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    auto p = transpose_inputs<complex, T>(given, L, threads);
    p.y = given.output_like("out", "v");
    given.run(kernels<T>().log_vandermonde_transpose, p);
  });
}

template <bool complex>
void log_vandermonde_transpose_adjoint(Arguments& given, std::int64_t L, int threads) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    LogVandermondeTransposeAdjoint<T> q{};
    q.forward = transpose_inputs<complex, T>(given, L, threads);
    q.grad = given.input_like("grad", "v");
    q.du = values<T>(given.gradient_of("u"), !complex), q.dv = given.gradient_of("v"), q.dx = given.gradient_of("x");
    given.run(kernels<T>().log_vandermonde_transpose_adjoint, q);
  });
}

#if defined(QF_DEVICE)  // the host's are NumPy's
template <class T>
void repeat(const Arguments& given, const Fit::Fitted& a, const Fit::Fitted& b) {
  const View &from = a.view(), &to = b.view();
  bool fits = from.rank > 0 && from.rank <= to.rank && from.dim(1) == to.dim(1);
  for (int i = 2; fits && i <= from.rank; ++i) fits = from.dim(i) == to.dim(i) || from.dim(i) == 1;
  given.require(fits, "a does not broadcast to its result");
  std::int64_t strides[2][View::kMaxRank] = {};
  broadcast_strides(from, to, -1, strides[0]), broadcast_strides(to, to, -1, strides[1]);
  const auto rows = split_rows<2>(to, to.rank - 1, strides);
  if (is_complex(to.dtype))
    given.run(kernels<T>().repeat_complex, Repeat<cplx<T>>{a, b, rows});
  else
    given.run(kernels<T>().repeat, Repeat<T>{a, b, rows});
}

void broadcast_rows(Arguments& given, const py::tuple&, int) {
  given.dispatch([&](auto zero) {
    const auto a = given.strided("a", "a..");
    repeat<decltype(zero)>(given, a, given.output("out", "b.."));
  });
}

// What was broadcast is summed by the caller.
void broadcast_rows_adjoint(Arguments& given, const py::tuple&, int) {
  given.dispatch([&](auto zero) {
    given.skip();
    const auto grad = given.strided("grad", "b..");
    repeat<decltype(zero)>(given, grad, given.output_like("da", "grad"));
  });
}
#endif

}  // namespace

void bind(py::module_& m) {
  define(m, "log_vandermonde", &log_vandermonde<true>);
  define(m, "log_vandermonde_vjp", &log_vandermonde_adjoint<true>);
  define(m, "log_vandermonde_complex", &log_vandermonde<false>);
  define(m, "log_vandermonde_complex_vjp", &log_vandermonde_adjoint<false>);
  define(m, "log_vandermonde_transpose", &log_vandermonde_transpose<false>);
  define(m, "log_vandermonde_transpose_vjp", &log_vandermonde_transpose_adjoint<false>);
  define(m, "log_vandermonde_transpose_complex", &log_vandermonde_transpose<true>);
  define(m, "log_vandermonde_transpose_complex_vjp", &log_vandermonde_transpose_adjoint<true>);
#if defined(QF_DEVICE)
  define(m, "broadcast_rows", &broadcast_rows);
  define(m, "broadcast_rows_vjp", &broadcast_rows_adjoint);
#endif
}

}  // namespace quatrefoil::ssm::modes
