// Views -> args, and the GIL released around the kernels. Computes nothing.
#include <pybind11/stl.h>

#include <cstdio>
#include <vector>

#include "cheb/scattered/args.hpp"
#include "core/host/dispatch.hpp"
#include "core/host/isa.hpp"
#include "py/caster.hpp"

QF_TABLE(cheb, scattered)

namespace quatrefoil::cheb::scattered {
namespace {

// A list of arrays, as inputs or outputs.
template <class A>
std::vector<A> arrays(const py::sequence& list, const char* name) {
  std::vector<A> found;
  found.reserve(list.size());
  for (py::handle item : list) found.emplace_back(item, name);
  return found;
}

struct Tucker {  // the inputs, checked
  Input core, X;
  std::vector<Input> factors;
  std::vector<double> domain;

  Tucker(const char* function, py::handle core_, const py::sequence& factors_, py::handle X_, const std::vector<double>& domain_)
      : core(core_, "core"), X(X_, "X"), factors(arrays<Input>(factors_, "factors")), domain(domain_) {
    const int d = int(factors.size());
    require(d >= 1 && d <= kMaxAxes && core.rank == d, function, "core must have one axis a factor, at most 16");
    require(X.rank == 2 && X.shape[1] == d && X.dtype == core.dtype, function, "X does not fit the factors");
    require(domain.size() == 2 * factors.size(), function, "domain must hold two numbers an axis");
    for (int k = 0; k < d; ++k) {
      const View& U = factors[std::size_t(k)];
      require(U.rank == 2 && U.shape[1] == core.shape[k] && U.dtype == core.dtype, function, "factors do not fit the core");
    }
  }

  template <class T>
  TuckerEval<T> args(int threads) const {
    TuckerEval<T> p{};
    p.d = int(factors.size()), p.P = X.shape[0], p.threads = threads;
    p.core = core.as<T>(), p.X = X.as<T>();
    for (std::size_t k = 0; k < factors.size(); ++k) {
      p.factors[k] = factors[k].as<T>(), p.n[k] = factors[k].shape[0], p.r[k] = factors[k].shape[1];
      p.lo[k] = domain[2 * k], p.hi[k] = domain[2 * k + 1];
    }
    return p;
  }

  template <class T>
  void refuse(const char* function, std::int64_t at) const {
    if (at < 0) return;
    const std::size_t d = factors.size(), k = std::size_t(at) % d;
    char text[320];
    std::snprintf(text, sizeof text, "%s: X[%lld, %zu] = %.17g, expected a number within the domain [%.17g, %.17g] of axis %zu", function,
                  (long long)(at / std::int64_t(d)), k, double(X.as<T>()[at]), domain[2 * k], domain[2 * k + 1], k);
    throw ValueError(text);
  }
};

void tucker_eval(py::handle core, const py::sequence& factors, py::handle X, py::handle out, const std::vector<double>& domain,
                 int threads) {
  constexpr const char* name = "cheb.tucker_eval";
  const Tucker t(name, core, factors, X, domain);
  const Output f(out, "out");
  require(f.size() == t.X.shape[0] && f.dtype == t.core.dtype, name, "out does not fit X");
  dispatch_real(t.core.dtype, name, [&](auto zero) {
    using T = decltype(zero);
    auto p = t.args<T>(threads);
    p.f = f.as<T>();
    std::int64_t bad;
    {
      py::gil_scoped_release released;
      bad = kernels<T>().tucker_eval(p);
    }
    t.refuse<T>(name, bad);
  });
}

void tucker_eval_vjp(py::handle core, const py::sequence& factors, py::handle X, py::handle grad_, py::handle dcore_,
                     const py::sequence& dfactors_, py::handle dX_, const std::vector<double>& domain, int threads) {
  constexpr const char* name = "cheb.tucker_eval_vjp";
  const Tucker t(name, core, factors, X, domain);
  const Input grad(grad_, "grad");
  const Output dcore(dcore_, "dcore"), dX(dX_, "dX");
  const auto dfactors = arrays<Output>(dfactors_, "dfactors");
  require(grad.size() == t.X.shape[0] && dcore.size() == t.core.size() && dX.size() == t.X.size(), name, "gradients do not fit");
  require(grad.dtype == t.core.dtype && dcore.dtype == t.core.dtype && dX.dtype == t.core.dtype, name, "mixed dtypes");
  require(dfactors.size() == t.factors.size(), name, "dfactors does not fit the factors");
  for (std::size_t k = 0; k < dfactors.size(); ++k)
    require(dfactors[k].size() == t.factors[k].size() && dfactors[k].dtype == t.core.dtype, name, "dfactors does not fit the factors");
  dispatch_real(t.core.dtype, name, [&](auto zero) {
    using T = decltype(zero);
    TuckerEvalVjp<T> p{};
    p.forward = t.args<T>(threads);
    p.grad = grad.as<T>(), p.dcore = dcore.as<T>(), p.dX = dX.as<T>();
    for (std::size_t k = 0; k < dfactors.size(); ++k) p.dfactors[k] = dfactors[k].as<T>();
    std::int64_t bad;
    {
      py::gil_scoped_release released;
      bad = kernels<T>().tucker_eval_vjp(p);
    }
    t.refuse<T>(name, bad);
  });
}

}  // namespace

void bind(py::module_& m) {
  m.def("tucker_eval", &tucker_eval, py::arg("core"), py::arg("factors"), py::arg("X"), py::arg("out"), py::arg("domain"),
        py::arg("num_threads"));
  m.def("tucker_eval_vjp", &tucker_eval_vjp, py::arg("core"), py::arg("factors"), py::arg("X"), py::arg("grad"), py::arg("dcore"),
        py::arg("dfactors"), py::arg("dX"), py::arg("domain"), py::arg("num_threads"));
}

}  // namespace quatrefoil::cheb::scattered
