// Checks arrays from Python and puts them into args.
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
Setting<T> setting(const Arguments& call, int d, const std::int64_t* n, double eps, bool grid, int threads) {
  call.require(d >= 1 && d <= kMaxAxes, "C must have between 1 and 16 axes");
  call.require(eps >= 0 && eps < 1, "eps must be at least 0 and less than 1");
  call.require(!grid || (d <= kGridAxes && eps > 0), "a grid requires at most three axes and eps > 0");
  Setting<T> at{};
  at.d = d, at.eps = eps, at.grid = grid, at.threads = threads;
  for (int k = 0; k < d; ++k) {
    call.require(n[k] >= 0 && (n[k] > 0 || !grid), "every axis of C must have at least one coefficient");
    at.n[k] = n[k], at.lo[k] = -1, at.hi[k] = 1;
  }
  at.transform = transform::kernels<T>().transform;
  return at;
}

template <class T>
Values<T> coefficients(Arguments& call, double eps, bool grid, const Domain& domain, int threads) {
  const View C = call.peek(0);
  Values<T> v{};
  v.at = setting<T>(call, C.rank, C.shape, eps, grid, threads);
  call.axes("n..", C.shape, C.rank);
  call.size("d", C.rank);
  v.C = call.input("C", "n..");
  scattered::take_domain(call, domain, v.at.d, v.at.lo, v.at.hi);
  return v;
}

// Values of C on the grid. Any thread may use them.
template <class T>
struct GridValues {
  Setting<T> sizes{};
  std::shared_ptr<void> owner;

  GridValues() = default;
  GridValues(Arguments& call, double eps, int threads) {
    const Values<T> v = coefficients<T>(call, eps, true, Domain(2 * std::size_t(call.peek(0).rank)), threads);
    owner = {call.run(kernels<T>().make_grid, v), kernels<T>().discard};
    sizes = v.at;
  }
};

class Grid {
 public:
  Grid(const py::object& C, double eps, int threads) {
    Arguments call("cheb.Grid", py::make_tuple(C), 1);
    call.dispatch([&](auto zero) { values_ = GridValues<decltype(zero)>(call, eps, threads); });
  }
  // Returns the values. Raises an error unless they match the setting of the call.
  template <class T>
  const void* values(const Arguments& call, const Setting<T>& at) const {
    const auto* values = std::get_if<GridValues<T>>(&values_);
    if (!values) call.reject_type("grid was built for coefficients of a different dtype");
    bool same = values->sizes.d == at.d && values->sizes.eps == at.eps;
    for (int k = 0; same && k < at.d; ++k) same = values->sizes.n[k] == at.n[k];
    call.require(same, "grid was built for a different shape or eps");
    return values->owner.get();
  }

 private:
  std::variant<GridValues<float>, GridValues<double>> values_;
};

template <class T>
void take_points(Arguments& call, Setting<T>& at) {
  at.X = call.input("X", "P d");
  at.P = call["P"];
}

void cheb_eval(Arguments& call, double eps, bool grid, const Domain& domain, const py::object& memo, int threads) {
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    Values<T> v = coefficients<T>(call, eps, grid, domain, threads);
    take_points(call, v.at);
    v.f = call.output("out", "P");
    if (!memo.is_none()) v.grid = call.memo<Grid>("grid", memo).template values<T>(call, v.at);
    run_at_points(call, kernels<T>().values, v, v.at);
  });
}

void cheb_eval_adjoint(Arguments& call, double eps, bool grid, const Domain& domain, const py::object&, int threads) {
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    ValuesAdjoint<T> v{};
    v.forward = coefficients<T>(call, eps, grid, domain, threads);
    take_points(call, v.forward.at);
    v.grad = call.input("grad", "P");
    v.dC = call.gradient_of("C");
    v.dX = call.gradient_of("X");
    run_at_points(call, kernels<T>().values_adjoint, v, v.forward.at);
  });
}

template <class T>
Moments<T> particles(Arguments& call, const Sizes& n, double eps, int threads) {
  Moments<T> m{};
  m.at = setting<T>(call, int(n.size()), n.data(), eps, false, threads);
  call.axes("n..", n.data(), int(n.size()));
  call.size("d", std::int64_t(n.size()));
  take_points(call, m.at);
  m.q = call.input("q", "P");
  return m;
}

void cheb_moments(Arguments& call, const Sizes& n, double eps, int threads) {
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    Moments<T> m = particles<T>(call, n, eps, threads);
    m.M = call.output("out", "n..");
    run_at_points(call, kernels<T>().moments, m, m.at);
  });
}

void cheb_moments_adjoint(Arguments& call, const Sizes& n, double eps, int threads) {
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    MomentsAdjoint<T> m{};
    m.forward = particles<T>(call, n, eps, threads);
    m.grad = call.input("grad", "n..");
    m.dX = call.gradient_of("X");
    m.dq = call.gradient_of("q");
    run_at_points(call, kernels<T>().moments_adjoint, m, m.forward.at);
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
