// Checks arrays from Python and puts them into args.
#include "core/host/isa.hpp"
#include "py/arguments.hpp"
#include "ssm/modes/args.hpp"

QF_TABLE(ssm, modes)

namespace quatrefoil::ssm::modes {
namespace {

// Takes H.. from the shape of x, argument number `x_at`. v is read before x, and its own shape does not tell which axes are H..
void set_sizes(Arguments& call, std::size_t x_at, std::int64_t L) {
  const View x = call.peek(x_at);
  call.size("L", L);
  call.axes("H..", x.shape, x.rank > 0 ? x.rank - 1 : 0);
}
template <class T>
void take_poles(Arguments& call, Exponentials<T>& p, bool complex, int threads) {
  p.v = call.input("v", "M.. H.. N");
  p.x = call.input("x", "H.. N");
  p.M = call.product("M.."), p.H = call.product("H.."), p.N = call["N"], p.L = call["L"];
  p.complex = complex, p.threads = threads;
}
template <class T>
T* rows(const ShapeChecker::CheckedArray& array, bool complex) {
  if (!complex) return array;
  return reinterpret_cast<T*>(static_cast<cplx<T>*>(array));
}

template <bool complex, class T>
void log_vandermonde(Arguments& call, std::int64_t L, int threads) {
  LogVandermonde<T> p{};
  set_sizes(call, 1, L);
  take_poles(call, p, complex, threads);
  p.y = rows<T>(call.output("out", "M.. H.. L"), complex);
  call.run(kernels<T>().log_vandermonde, p);
}

template <bool complex, class T>
void log_vandermonde_adjoint(Arguments& call, std::int64_t L, int threads) {
  LogVandermondeAdjoint<T> p{};
  set_sizes(call, 1, L);
  take_poles(call, p, complex, threads);
  p.grad = rows<T>(call.input("grad", "M.. H.. L"), complex);
  p.dv = call.gradient_of("v"), p.dx = call.gradient_of("x");
  call.run(kernels<T>().log_vandermonde_adjoint, p);
}

template <bool complex, class T>
void log_vandermonde_transpose(Arguments& call, std::int64_t L, int threads) {
  LogVandermondeTranspose<T> p{};
  set_sizes(call, 2, L);
  p.u = rows<T>(call.input("u", "M.. H.. L"), complex);
  take_poles(call, p, complex, threads);
  p.y = call.output_like("out", "v");
  call.run(kernels<T>().log_vandermonde_transpose, p);
}

template <bool complex, class T>
void log_vandermonde_transpose_adjoint(Arguments& call, std::int64_t L, int threads) {
  LogVandermondeTransposeAdjoint<T> p{};
  set_sizes(call, 2, L);
  p.u = rows<T>(call.input("u", "M.. H.. L"), complex);
  take_poles(call, p, complex, threads);
  p.grad = call.input_like("grad", "v");
  p.du = rows<T>(call.gradient_of("u"), complex), p.dv = call.gradient_of("v"), p.dx = call.gradient_of("x");
  call.run(kernels<T>().log_vandermonde_transpose_adjoint, p);
}

}  // namespace

void bind(py::module_& m) {
  define(m, "log_vandermonde", &log_vandermonde<false, float>, &log_vandermonde<false, double>);
  define(m, "log_vandermonde_vjp", &log_vandermonde_adjoint<false, float>, &log_vandermonde_adjoint<false, double>);
  define(m, "log_vandermonde_complex", &log_vandermonde<true, float>, &log_vandermonde<true, double>);
  define(m, "log_vandermonde_complex_vjp", &log_vandermonde_adjoint<true, float>, &log_vandermonde_adjoint<true, double>);
  define(m, "log_vandermonde_transpose", &log_vandermonde_transpose<false, float>, &log_vandermonde_transpose<false, double>);
  define(m, "log_vandermonde_transpose_vjp", &log_vandermonde_transpose_adjoint<false, float>,
         &log_vandermonde_transpose_adjoint<false, double>);
  define(m, "log_vandermonde_transpose_complex", &log_vandermonde_transpose<true, float>, &log_vandermonde_transpose<true, double>);
  define(m, "log_vandermonde_transpose_complex_vjp", &log_vandermonde_transpose_adjoint<true, float>,
         &log_vandermonde_transpose_adjoint<true, double>);
}

}  // namespace quatrefoil::ssm::modes
