// Arrays from Python -> args, checked. Computes nothing.
#include "cheb/scattered/bind.hpp"

#include <pybind11/stl.h>

#include <memory>
#include <variant>

#include "cheb/nonuniform/args.hpp"
#include "cheb/transform/bind.hpp"
#include "core/host/isa.hpp"
#include "py/arguments.hpp"

QF_TABLE(cheb, nonuniform)

namespace quatrefoil::cheb::nonuniform {
namespace {

using Sizes = std::vector<std::int64_t>;
using scattered::Domain;
using scattered::run_at_points;

template <class T>
Setting<T> setting(const Arguments& given, int d, const std::int64_t* n, double eps, bool grid, int threads) {
  given.require(d >= 1 && d <= kMaxAxes, "coefficients must have between 1 and 16 axes");
  given.require(eps >= 0 && eps < 1, "eps must be 0 or between 0 and 1");
  given.require(!grid || (d <= kGridAxes && eps > 0), "a grid has up to three axes, and an eps");
  Setting<T> at{};
  at.d = d, at.eps = eps, at.grid = grid, at.threads = threads;
  for (int k = 0; k < d; ++k) {
    given.require(n[k] >= 0 && (n[k] > 0 || !grid), "an axis has no coefficients");
    at.n[k] = n[k], at.lo[k] = -1, at.hi[k] = 1;
  }
  at.transform = transform::kernels<T>().transform;
  return at;
}

// Takes C.
template <class T>
Values<T> coefficients(Arguments& given, double eps, bool grid, const Domain& domain, int threads) {
  const View C = given.peek(0);
  Values<T> v{};
  v.at = setting<T>(given, C.rank, C.shape, eps, grid, threads);
  given.axes("n..", C.shape, C.rank);
  given.size("d", C.rank);
  v.C = given.input("C", "n..");
  scattered::take_domain(given, domain, v.at.d, v.at.lo, v.at.hi);
  return v;
}

// Values of C on the grid; any thread may use them.
template <class T>
struct Made {
  Setting<T> sizes{};
  std::shared_ptr<void> owner;

  Made() = default;
  Made(Arguments& given, double eps, int threads) {
    const Values<T> v = coefficients<T>(given, eps, true, Domain(2 * std::size_t(given.peek(0).rank)), threads);
    owner = {given.run(kernels<T>().make_grid, v), kernels<T>().discard};
    sizes = v.at;
  }
};

class Grid {
 public:
  Grid(const py::object& C, double eps, int threads) {
    Arguments given("cheb.Grid", py::make_tuple(C), 1);
    given.dispatch([&](auto zero) { made_ = Made<decltype(zero)>(given, eps, threads); });
  }
  // For a call with that setting.
  template <class T>
  const void* values(const Arguments& given, const Setting<T>& at) const {
    const auto* made = std::get_if<Made<T>>(&made_);
    if (!made) given.refuse_type("grid is of coefficients of another precision");
    bool same = made->sizes.d == at.d && made->sizes.eps == at.eps;
    for (int k = 0; same && k < at.d; ++k) same = made->sizes.n[k] == at.n[k];
    given.require(same, "grid is of another call");
    return made->owner.get();
  }

 private:
  std::variant<Made<float>, Made<double>> made_;
};

template <class T>
void take_points(Arguments& given, Setting<T>& at) {
  at.X = given.input("X", "P d");
  at.P = given["P"];
}

void cheb_eval(Arguments& given, double eps, bool grid, const Domain& domain, const py::object& made, int threads) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    Values<T> v = coefficients<T>(given, eps, grid, domain, threads);
    take_points(given, v.at);
    v.f = given.output("out", "P");
    if (!made.is_none()) v.grid = given.memo<Grid>("grid", made).template values<T>(given, v.at);
    run_at_points(given, kernels<T>().values, v, v.at);
  });
}

void cheb_eval_adjoint(Arguments& given, double eps, bool grid, const Domain& domain, const py::object&, int threads) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    ValuesAdjoint<T> v{};
    v.forward = coefficients<T>(given, eps, grid, domain, threads);
    take_points(given, v.forward.at);
    v.grad = given.input("grad", "P");
    v.dC = given.gradient_of("C");
    v.dX = given.gradient_of("X");
    run_at_points(given, kernels<T>().values_adjoint, v, v.forward.at);
  });
}

// Takes X and q.
template <class T>
Moments<T> particles(Arguments& given, const Sizes& n, double eps, int threads) {
  Moments<T> m{};
  m.at = setting<T>(given, int(n.size()), n.data(), eps, false, threads);
  given.axes("n..", n.data(), int(n.size()));
  given.size("d", std::int64_t(n.size()));
  take_points(given, m.at);
  m.q = given.input("q", "P");
  return m;
}

void cheb_moments(Arguments& given, const Sizes& n, double eps, int threads) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    Moments<T> m = particles<T>(given, n, eps, threads);
    m.M = given.output("out", "n..");
    run_at_points(given, kernels<T>().moments, m, m.at);
  });
}

void cheb_moments_adjoint(Arguments& given, const Sizes& n, double eps, int threads) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    MomentsAdjoint<T> m{};
    m.forward = particles<T>(given, n, eps, threads);
    m.grad = given.input("grad", "n..");
    m.dX = given.gradient_of("X");
    m.dq = given.gradient_of("q");
    run_at_points(given, kernels<T>().moments_adjoint, m, m.forward.at);
  });
}

}  // namespace

void bind(py::module_& m) {
  define(m, "cheb_eval", &cheb_eval);
  define(m, "cheb_eval_vjp", &cheb_eval_adjoint);
  define(m, "cheb_moments", &cheb_moments);
  define(m, "cheb_moments_vjp", &cheb_moments_adjoint);
  py::class_<Grid>(m, "Grid").def(py::init<const py::object&, double, int>(), py::arg("C"), py::arg("eps"), py::arg("num_threads"));
}

}  // namespace quatrefoil::cheb::nonuniform
