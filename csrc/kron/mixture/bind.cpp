// Arrays from Python -> args, checked. Computes nothing.
#include <cstdio>
#include <limits>

#include "core/host/isa.hpp"
#include "kron/mixture/args.hpp"
#include "py/arguments.hpp"

QF_TABLE(kron, mixture)

namespace quatrefoil::kron::mixture {
namespace {

struct Bounds {
  double least;
  bool or_equal;
  const char* expected;
};
constexpr Bounds kFinite = {-std::numeric_limits<double>::infinity(), true, "finite numbers"};
constexpr Bounds kPositive = {0, false, "finite positive numbers"};
constexpr std::int64_t kFew = 4096;  // numbers: less work than giving the GIL away and taking it again
constexpr Bounds kNotNegative = {0, true, "finite numbers, at least 0"};

// A number's place as Python writes it: nothing for the only one, else [i] or [i, k].
std::string place(const View& view, std::int64_t at) {
  std::string text;
  for (int axis = view.rank - 1; axis >= 0; at /= view.shape[axis--])
    text = std::to_string(at % view.shape[axis]) + (text.empty() ? "" : ", ") + text;
  return view.rank ? "[" + text + "]" : "";
}

// The array's numbers, all of them within these bounds.
template <class T>
const T* numbers(const Arguments& given, const Fit::Fitted& array, const char* name, const Bounds& bounds = kFinite) {
  const T* const x = array;
  const View& view = array.view();
  if (!view.present) return nullptr;
  const Range<T> range{x, view.size(), bounds.least, bounds.or_equal};
  const auto look = kernels<T>().first_outside;
  const std::int64_t at = range.n < kFew ? look(range) : released(look, range);
  if (at < 0) return x;
  char value[32];
  std::snprintf(value, sizeof value, "%g", double(x[at]));
  given.refuse(name + place(view, at) + " is " + value + ", expected " + bounds.expected);
}

// x (N, P) or (N,) and y; `one_axis`: (N,) alone.
template <class T>
Pairs<T> take_pairs(Arguments& given, int threads, bool one_axis = false) {
  Pairs<T> p{};
  const auto x = given.input("x", one_axis ? "N" : "N P..");
  given.require(x.view().rank <= 2, "x must have shape (N,) or (N, P)");
  const auto y = given.optional_input("y", one_axis ? "M" : "M P..");
  p.itself = !y.view().present;
  p.x = numbers<T>(given, x, "x"), p.y = p.itself ? p.x : numbers<T>(given, y, "y");
  p.N = given["N"], p.M = p.itself ? p.N : given["M"], p.P = one_axis ? 1 : given.product("P..");
  p.threads = threads;
  return p;
}
template <class T>
const char* dims_of_result(const Pairs<T>& p) {
  return p.itself ? "N N" : "N M";
}
template <class T>
PairsAdjoint<T> take_grad(Arguments& given, const Pairs<T>& p) {
  PairsAdjoint<T> q{};
  q.grad = given.input("grad", dims_of_result(p));
  return q;
}
template <class T>
void take_gradients(Arguments& given, PairsAdjoint<T>& q) {
  q.dx = given.gradient_of("x"), q.dy = given.gradient_of("y");
}

template <Shape shape, class T>
Radial<T> take_radial(Arguments& given, int threads) {
  Radial<T> p{};
  p.shape = shape;
  p.pairs = take_pairs<T>(given, threads);
  p.one_scale = given.peek(2).rank == 0;
  p.scale = numbers<T>(given, given.input("scale", p.one_scale ? "" : "P.."), "scale", kPositive);
  if (shape == Shape::periodic) {
    p.one_period = given.peek(3).rank == 0;
    p.period = numbers<T>(given, given.input("period", p.one_period ? "" : "P.."), "period", kPositive);
  }
  if (shape == Shape::rational_quadratic) p.alpha = numbers<T>(given, given.input("alpha", ""), "alpha", kPositive);
  return p;
}

template <Shape shape>
void radial(Arguments& given, int threads) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    Radial<T> p = take_radial<shape, T>(given, threads);
    p.pairs.out = given.output("out", dims_of_result(p.pairs));
    given.run(kernels<T>().radial, p);
  });
}

template <Shape shape>
void radial_adjoint(Arguments& given, int threads) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    RadialAdjoint<T> q{};
    q.forward = take_radial<shape, T>(given, threads);
    q.pairs = take_grad(given, q.forward.pairs);
    take_gradients(given, q.pairs);
    q.dscale = given.gradient_of("scale");
    if (shape == Shape::periodic) q.dperiod = given.gradient_of("period");
    if (shape == Shape::rational_quadratic) q.dalpha = given.gradient_of("alpha");
    given.run(kernels<T>().radial_adjoint, q);
  });
}

template <Shape shape>
void define_radial(py::module_& m, const char* name) {
  define(m, name, &radial<shape>);
  define(m, (std::string(name) + "_vjp").c_str(), &radial_adjoint<shape>);
}

template <class T>
Components<T> take_components(Arguments& given, const std::string& kind, std::int64_t order) {
  Components<T> p{};
  p.log_weights = numbers<T>(given, given.input("log_weights", "Q"), "log_weights");
  p.log_scales = numbers<T>(given, given.input("log_scales", "Q"), "log_scales");
  p.freqs = numbers<T>(given, given.input("freqs", "Q"), "freqs");
  p.Q = given["Q"];
  p.kind = Kind(given.choice("kind", kind, {"student_t", "gaussian"}));
  given.require(0 <= order && order <= 2, "order must be 0, 1 or 2");
  p.order = int(order);
  return p;
}
template <class T>
void take_gradients(Arguments& given, ComponentsAdjoint<T>& q) {
  q.dlog_weights = given.gradient_of("log_weights"), q.dlog_scales = given.gradient_of("log_scales");
  q.dfreqs = given.gradient_of("freqs");
}

void spectral(Arguments& given, const std::string& kind, std::int64_t order, int threads) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    Spectral<T> p{take_pairs<T>(given, threads, true), {}};
    p.components = take_components<T>(given, kind, order);
    p.pairs.out = given.output("out", dims_of_result(p.pairs));
    given.run(kernels<T>().spectral, p);
  });
}

void spectral_adjoint(Arguments& given, const std::string& kind, std::int64_t order, int threads) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    SpectralAdjoint<T> q{};
    q.forward.pairs = take_pairs<T>(given, threads, true);
    q.forward.components = take_components<T>(given, kind, order);
    q.pairs = take_grad(given, q.forward.pairs);
    take_gradients(given, q.pairs);
    take_gradients(given, q.components);
    given.run(kernels<T>().spectral_adjoint, q);
  });
}

template <class T>
SpectralLags<T> take_lags(Arguments& given, const std::string& kind, std::int64_t order, int threads) {
  SpectralLags<T> p{};
  p.d = numbers<T>(given, given.input("d", "N"), "d");
  p.N = given["N"];
  p.components = take_components<T>(given, kind, order);
  p.threads = threads;
  return p;
}

void spectral_lags(Arguments& given, const std::string& kind, std::int64_t order, int threads) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    SpectralLags<T> p = take_lags<T>(given, kind, order, threads);
    p.out = given.output("out", "N");
    given.run(kernels<T>().spectral_lags, p);
  });
}

void spectral_lags_adjoint(Arguments& given, const std::string& kind, std::int64_t order, int threads) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    SpectralLagsAdjoint<T> q{};
    q.forward = take_lags<T>(given, kind, order, threads);
    q.grad = given.input("grad", "N");
    q.dd = given.gradient_of("d");
    take_gradients(given, q.components);
    given.run(kernels<T>().spectral_lags_adjoint, q);
  });
}

// One number an entry, one a component, or one in all.
const char* dims_of_entries(const View& view) { return view.rank == 0 ? "" : view.rank == 1 ? "A" : "A P.."; }
void strides_of_entries(const View& view, std::int64_t* stride) {
  stride[0] = view.rank == 0 ? 0 : view.rank == 1 ? 1 : view.shape[1];
  stride[1] = view.rank == 2;
}

template <class T>
Product<T> take_product(Arguments& given, int threads) {
  Product<T> p{};
  p.pairs = take_pairs<T>(given, threads);
  p.weights = numbers<T>(given, given.input("weights", "A"), "weights", kNotNegative);
  p.A = given["A"];
  const auto means = given.input("means", given.peek(3).rank == 1 ? "A" : "A P..");
  const auto deviations = given.input("std", dims_of_entries(given.peek(4)));
  p.means = numbers<T>(given, means, "means"), p.deviations = numbers<T>(given, deviations, "std", kNotNegative);
  strides_of_entries(means.view(), p.of_means), strides_of_entries(deviations.view(), p.of_deviations);
  return p;
}

void product(Arguments& given, int threads) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    Product<T> p = take_product<T>(given, threads);
    p.pairs.out = given.output("out", dims_of_result(p.pairs));
    given.run(kernels<T>().product, p);
  });
}

void product_adjoint(Arguments& given, int threads) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    ProductAdjoint<T> q{};
    q.forward = take_product<T>(given, threads);
    q.grad = take_grad(given, q.forward.pairs).grad;
    given.no_output("dx"), given.no_output("dy");
    const auto dweights = given.gradient_of("weights"), dmeans = given.gradient_of("means"), ddeviations = given.gradient_of("std");
    q.dweights = dweights, q.dmeans = dmeans, q.ddeviations = ddeviations;
    q.means = dmeans.view().size(), q.deviations = ddeviations.view().size();
    given.run(kernels<T>().product_adjoint, q);
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
