// Arrays from Python -> args, checked. Computes nothing.
#include "cheb/scattered/bind.hpp"

#include <pybind11/stl.h>

#include <memory>
#include <variant>

#include "cheb/scattered/args.hpp"
#include "core/host/isa.hpp"
#include "py/arguments.hpp"

QF_TABLE(cheb, scattered)

namespace quatrefoil::cheb::scattered {
namespace {

// Takes core and factors.
template <class T>
TuckerEval<T> tensor(Arguments& given) {
  TuckerEval<T> p{};
  const View core = given.peek(0);
  p.d = core.rank;
  given.require(p.d >= 1 && p.d <= kMaxAxes, "core must have between 1 and 16 axes");
  given.axes("r..", core.shape, p.d);
  for (int k = 0; k < p.d; ++k) given.size("r_", core.shape[k], k + 1);
  p.core = given.input("core", "r..");
  const auto factors = given.inputs("factors", "n_ r_");
  given.require(int(factors.size()) == p.d, "factors must have an entry for every axis");
  for (int k = 0; k < p.d; ++k) {
    const View& U = factors[std::size_t(k)].view();
    p.factors[k] = factors[std::size_t(k)], p.n[k] = U.shape[0], p.r[k] = U.shape[1];
  }
  return p;
}

// Core and factors as the kernels read them; any thread may use it.
template <class T>
struct Laid {
  TuckerEval<T> sizes{};
  std::shared_ptr<void> owner;

  Laid() = default;
  explicit Laid(Arguments& given) : sizes(tensor<T>(given)) {
    owner = {given.run(kernels<T>().pack, sizes), kernels<T>().discard};
    sizes.core = nullptr, sizes.packed = owner.get();
    for (const T*& factor : sizes.factors) factor = nullptr;
  }
};

class Packed {
 public:
  Packed(const py::object& core, const py::object& factors) {
    Arguments given("cheb.Packed", py::make_tuple(core, factors), 2);
    given.dispatch([&](auto zero) { laid_ = Laid<decltype(zero)>(given); });
  }
  template <class T>
  const TuckerEval<T>& sizes(const Arguments& given) const {
    const auto* laid = std::get_if<Laid<T>>(&laid_);
    if (!laid) given.refuse_type("packed is of a core of another precision");
    return laid->sizes;
  }

 private:
  std::variant<Laid<float>, Laid<double>> laid_;
};

// Takes core, factors and X.
template <class T>
TuckerEval<T> inputs(Arguments& given, const Domain& domain, bool extrapolate, const py::object& packed, int threads) {
  TuckerEval<T> p{};
  if (packed.is_none()) {
    p = tensor<T>(given);
  } else {
    p = given.memo<Packed>("packed", packed).template sizes<T>(given);
    given.skip(), given.skip();
  }
  take_domain(given, domain, p.d, p.lo, p.hi);
  given.size("d", p.d);
  p.X = given.input("X", "P d");
  p.P = given["P"], p.extrapolate = extrapolate, p.threads = threads;
  return p;
}

template <class T, class Kernel, class Args>
void run(const Arguments& given, Kernel* kernel, const Args& args, const TuckerEval<T>& p) {
  run_at_points(given, kernel, args, p, p.extrapolate);
}

void tucker_eval(Arguments& given, const Domain& domain, const py::object& packed, int threads) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    TuckerEval<T> p = inputs<T>(given, domain, false, packed, threads);
    p.f = given.output("out", "P");
    run(given, kernels<T>().tucker_eval, p, p);
  });
}

void tucker_eval_adjoint(Arguments& given, const Domain& domain, const py::object& packed, int threads) {
  if (!packed.is_none()) given.memo<Packed>("packed", packed);  // of no use: the adjoint has a layout of its own
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    TuckerEvalAdjoint<T> q{};
    q.forward = inputs<T>(given, domain, false, py::none(), threads);
    q.grad = given.input("grad", "P");
    q.dcore = given.gradient_of("core");
    const auto dfactors = given.gradients_of("factors");
    for (std::size_t k = 0; k < dfactors.size(); ++k) q.dfactors[k] = dfactors[k];
    q.dX = given.gradient_of("X");
    run(given, kernels<T>().tucker_eval_adjoint, q, q.forward);
  });
}

void tucker_derivatives(Arguments& given, const Domain& domain, bool gradient, bool hessian, bool extrapolate, const py::object& packed,
                        int threads) {
  given.require(gradient || !hessian, "a Hessian comes with the gradient");
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    TuckerDerivatives<T> q{};
    q.value = inputs<T>(given, domain, extrapolate, packed, threads);
    q.value.f = given.output("f", "P");
    q.gradient = given.output_if(gradient, "gradient", "P d");
    q.hessian = given.output_if(hessian, "hessian", "P d d");
    run(given, kernels<T>().tucker_derivatives, q, q.value);
  });
}

void tucker_derivatives_adjoint(Arguments& given, const Domain& domain, bool gradient, bool hessian, bool extrapolate,
                                const py::object& packed, int threads) {
  if (!packed.is_none()) given.memo<Packed>("packed", packed);  // of no use here either
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    TuckerDerivativesAdjoint<T> q{};
    TuckerEvalAdjoint<T>& value = q.value;
    value.forward = inputs<T>(given, domain, extrapolate, py::none(), threads);
    value.grad = given.input("grad_f", "P");
    q.grad_gradient = given.input_if(gradient, "grad_gradient", "P d");
    q.grad_hessian = given.input_if(hessian, "grad_hessian", "P d d");
    value.dcore = given.gradient_of("core");
    const auto dfactors = given.gradients_of("factors");
    for (std::size_t k = 0; k < dfactors.size(); ++k) value.dfactors[k] = dfactors[k];
    value.dX = given.gradient_of("X");
    run(given, kernels<T>().tucker_derivatives_adjoint, q, value.forward);
  });
}

}  // namespace

void bind(py::module_& m) {
  define(m, "tucker_eval", &tucker_eval);
  define(m, "tucker_eval_vjp", &tucker_eval_adjoint);
  define(m, "tucker_derivatives", &tucker_derivatives);
  define(m, "tucker_derivatives_vjp", &tucker_derivatives_adjoint);
  py::class_<Packed>(m, "Packed").def(py::init<const py::object&, const py::object&>(), py::arg("core"), py::arg("factors"));
}

}  // namespace quatrefoil::cheb::scattered
