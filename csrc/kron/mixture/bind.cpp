// Checks arrays from Python and puts them into args.
#include <limits>

#include "core/host/isa.hpp"
#include "kron/mixture/args.hpp"
#include "py/arguments.hpp"

QF_TABLE(kron, mixture)

namespace quatrefoil::kron::mixture {
namespace {

struct Bounds {
  double minimum;
  bool or_equal;
  const char* expected;
};
constexpr Bounds kFinite = {-std::numeric_limits<double>::infinity(), true, "finite numbers"};
constexpr Bounds kPositive = {0, false, "finite positive numbers"};
constexpr Bounds kNotNegative = {0, true, "finite nonnegative numbers"};
constexpr std::int64_t kFew = 4096;  // elements; checking fewer takes less time than releasing the GIL

// Returns the elements of an array after checking their bounds.
template <class T>
const T* numbers(const Arguments& call, const ShapeChecker::CheckedArray& array, const char* name, const Bounds& bounds = kFinite) {
  const T* const x = array;
  if (!array.view().present) return nullptr;
  const Range<T> range{x, array.view().size(), bounds.minimum, bounds.or_equal};
  const auto check = kernels<T>().first_outside;
  const std::int64_t at = range.n < kFew ? check(range) : released(check, range);
  if (at >= 0) call.reject_entry(name, at, double(x[at]), bounds.expected);
  return x;
}

// Reads x, (N, P) or (N,), and y; only (N,) if `one_axis`.
template <class T>
Pairs<T> take_pairs(Arguments& call, int threads, bool one_axis = false) {
  Pairs<T> p{};
  const auto x = call.input("x", one_axis ? "N" : "N P..");
  call.require(x.view().rank <= 2, "x must have shape (N,) or (N, P)");
  const auto y = call.optional_input("y", one_axis ? "M" : "M P..");
  p.itself = !y.view().present;
  p.x = numbers<T>(call, x, "x"), p.y = p.itself ? p.x : numbers<T>(call, y, "y");
  p.N = call["N"], p.M = p.itself ? p.N : call["M"], p.P = one_axis ? 1 : call.product("P..");
  p.threads = threads;
  return p;
}
template <class T>
const char* dims_of_result(const Pairs<T>& p) {
  return p.itself ? "N N" : "N M";
}
template <class T>
PairsAdjoint<T> take_grad(Arguments& call, const Pairs<T>& p) {
  PairsAdjoint<T> q{};
  q.grad = call.input("grad", dims_of_result(p));
  return q;
}
template <class T>
void take_gradients(Arguments& call, PairsAdjoint<T>& q) {
  q.dx = call.gradient_of("x"), q.dy = call.gradient_of("y");
}

template <Shape shape, class T>
Radial<T> take_radial(Arguments& call, int threads) {
  Radial<T> p{};
  p.shape = shape;
  p.pairs = take_pairs<T>(call, threads);
  p.one_scale = call.peek(2).rank == 0;
  p.scale = numbers<T>(call, call.input("scale", p.one_scale ? "" : "P.."), "scale", kPositive);
  if (shape == Shape::periodic) {
    p.one_period = call.peek(3).rank == 0;
    p.period = numbers<T>(call, call.input("period", p.one_period ? "" : "P.."), "period", kPositive);
  }
  if (shape == Shape::rational_quadratic) p.alpha = numbers<T>(call, call.input("alpha", ""), "alpha", kPositive);
  return p;
}

template <Shape shape>
void radial(Arguments& call, int threads) {
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    Radial<T> p = take_radial<shape, T>(call, threads);
    p.pairs.out = call.output("out", dims_of_result(p.pairs));
    call.run(kernels<T>().radial, p);
  });
}

template <Shape shape>
void radial_adjoint(Arguments& call, int threads) {
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    RadialAdjoint<T> q{};
    q.forward = take_radial<shape, T>(call, threads);
    q.pairs = take_grad(call, q.forward.pairs);
    take_gradients(call, q.pairs);
    q.dscale = call.gradient_of("scale");
    if (shape == Shape::periodic) q.dperiod = call.gradient_of("period");
    if (shape == Shape::rational_quadratic) q.dalpha = call.gradient_of("alpha");
    call.run(kernels<T>().radial_adjoint, q);
  });
}

template <Shape shape>
void define_radial(py::module_& m, const char* name) {
  define(m, name, &radial<shape>);
  define(m, (std::string(name) + "_vjp").c_str(), &radial_adjoint<shape>);
}

template <class T>
Components<T> take_components(Arguments& call, const std::string& kind, std::int64_t order) {
  Components<T> p{};
  p.log_weights = numbers<T>(call, call.input("log_weights", "Q"), "log_weights");
  p.log_scales = numbers<T>(call, call.input("log_scales", "Q"), "log_scales");
  p.freqs = numbers<T>(call, call.input("freqs", "Q"), "freqs");
  p.Q = call["Q"];
  p.kind = Kind(call.choice("kind", kind, {"student_t", "gaussian"}));
  call.require(0 <= order && order <= 2, "order must be 0, 1 or 2");
  p.order = int(order);
  return p;
}
template <class T>
void take_gradients(Arguments& call, ComponentsAdjoint<T>& q) {
  q.dlog_weights = call.gradient_of("log_weights"), q.dlog_scales = call.gradient_of("log_scales");
  q.dfreqs = call.gradient_of("freqs");
}

void spectral(Arguments& call, const std::string& kind, std::int64_t order, int threads) {
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    Spectral<T> p{take_pairs<T>(call, threads, true), {}};
    p.components = take_components<T>(call, kind, order);
    p.pairs.out = call.output("out", dims_of_result(p.pairs));
    call.run(kernels<T>().spectral, p);
  });
}

void spectral_adjoint(Arguments& call, const std::string& kind, std::int64_t order, int threads) {
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    SpectralAdjoint<T> q{};
    q.forward.pairs = take_pairs<T>(call, threads, true);
    q.forward.components = take_components<T>(call, kind, order);
    q.pairs = take_grad(call, q.forward.pairs);
    take_gradients(call, q.pairs);
    take_gradients(call, q.components);
    call.run(kernels<T>().spectral_adjoint, q);
  });
}

template <class T>
SpectralLags<T> take_lags(Arguments& call, const std::string& kind, std::int64_t order, int threads) {
  SpectralLags<T> p{};
  p.d = numbers<T>(call, call.input("d", "N"), "d");
  p.N = call["N"];
  p.components = take_components<T>(call, kind, order);
  p.threads = threads;
  return p;
}

void spectral_lags(Arguments& call, const std::string& kind, std::int64_t order, int threads) {
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    SpectralLags<T> p = take_lags<T>(call, kind, order, threads);
    p.out = call.output("out", "N");
    call.run(kernels<T>().spectral_lags, p);
  });
}

void spectral_lags_adjoint(Arguments& call, const std::string& kind, std::int64_t order, int threads) {
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    SpectralLagsAdjoint<T> q{};
    q.forward = take_lags<T>(call, kind, order, threads);
    q.grad = call.input("grad", "N");
    q.dd = call.gradient_of("d");
    take_gradients(call, q.components);
    call.run(kernels<T>().spectral_lags_adjoint, q);
  });
}

// One number per entry, one per component, or one for all.
const char* dims_of_entries(const View& view) { return view.rank == 0 ? "" : view.rank == 1 ? "A" : "A P.."; }
void strides_of_entries(const View& view, std::int64_t* stride) {
  stride[0] = view.rank == 0 ? 0 : view.rank == 1 ? 1 : view.shape[1];
  stride[1] = view.rank == 2;
}

template <class T>
Product<T> take_product(Arguments& call, int threads) {
  Product<T> p{};
  p.pairs = take_pairs<T>(call, threads);
  p.weights = numbers<T>(call, call.input("weights", "A"), "weights", kNotNegative);
  p.A = call["A"];
  const auto means = call.input("means", call.peek(3).rank == 1 ? "A" : "A P..");
  const auto deviations = call.input("std", dims_of_entries(call.peek(4)));
  p.means = numbers<T>(call, means, "means"), p.deviations = numbers<T>(call, deviations, "std", kNotNegative);
  strides_of_entries(means.view(), p.of_means), strides_of_entries(deviations.view(), p.of_deviations);
  return p;
}

void product(Arguments& call, int threads) {
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    Product<T> p = take_product<T>(call, threads);
    p.pairs.out = call.output("out", dims_of_result(p.pairs));
    call.run(kernels<T>().product, p);
  });
}

void product_adjoint(Arguments& call, int threads) {
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    ProductAdjoint<T> q{};
    q.forward = take_product<T>(call, threads);
    q.grad = take_grad(call, q.forward.pairs).grad;
    call.no_output("dx"), call.no_output("dy");
    const auto dweights = call.gradient_of("weights"), dmeans = call.gradient_of("means"), ddeviations = call.gradient_of("std");
    q.dweights = dweights, q.dmeans = dmeans, q.ddeviations = ddeviations;
    q.means = dmeans.view().size(), q.deviations = ddeviations.view().size();
    call.run(kernels<T>().product_adjoint, q);
  });
}

}  // namespace

void bind(py::module_& m) {
  define_radial<Shape::squared_exponential>(m, "rbf");
  define_radial<Shape::matern12>(m, "matern12");
  define_radial<Shape::matern32>(m, "matern32");
  define_radial<Shape::matern52>(m, "matern52");
  define_radial<Shape::periodic>(m, "periodic");
  define_radial<Shape::rational_quadratic>(m, "rational_quadratic");
  define(m, "spectral_mixture", &spectral);
  define(m, "spectral_mixture_vjp", &spectral_adjoint);
  define(m, "spectral_mixture_lags", &spectral_lags);
  define(m, "spectral_mixture_lags_vjp", &spectral_lags_adjoint);
  define(m, "gsmp_kernel", &product);
  define(m, "gsmp_kernel_vjp", &product_adjoint);
}

}  // namespace quatrefoil::kron::mixture
