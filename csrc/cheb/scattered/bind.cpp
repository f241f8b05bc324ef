// Checks arrays from Python and puts them into args.
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

template <class T>
TuckerEval<T> tensor(Arguments& call) {
  TuckerEval<T> p{};
  const View core = call.peek(0);
  p.d = core.rank;
  call.require(p.d >= 1 && p.d <= kMaxAxes, "core must have between 1 and 16 axes");
  call.axes("r..", core.shape, p.d);
  for (int k = 0; k < p.d; ++k) call.size("r_", core.shape[k], k + 1);
  p.core = call.input("core", "r..");
  const auto factors = call.inputs("factors", "n_ r_");
  call.require(int(factors.size()) == p.d, "factors must have one entry per axis of core");
  for (int k = 0; k < p.d; ++k) {
    const View& U = factors[std::size_t(k)].view();
    p.factors[k] = factors[std::size_t(k)], p.n[k] = U.shape[0], p.r[k] = U.shape[1];
  }
  return p;
}

// Core and factors in the layout of the kernels. Any thread may use them.
template <class T>
struct PackedTensor {
  TuckerEval<T> sizes{};
  std::shared_ptr<void> owner;

  PackedTensor() = default;
  explicit PackedTensor(Arguments& call) : sizes(tensor<T>(call)) {
    owner = {call.run(kernels<T>().pack, sizes), kernels<T>().discard};
    sizes.core = nullptr, sizes.packed = owner.get();
    for (const T*& factor : sizes.factors) factor = nullptr;
  }
};

class Packed {
 public:
  Packed(const py::object& core, const py::object& factors) {
    Arguments call("cheb.Packed", py::make_tuple(core, factors), 2);
    call.dispatch([&](auto zero) { tensor_ = PackedTensor<decltype(zero)>(call); });
  }
  template <class T>
  const TuckerEval<T>& sizes(const Arguments& call) const {
    const auto* tensor = std::get_if<PackedTensor<T>>(&tensor_);
    if (!tensor) call.reject_type("packed was built from a core of a different dtype");
    return tensor->sizes;
  }

 private:
  std::variant<PackedTensor<float>, PackedTensor<double>> tensor_;
};

template <class T>
TuckerEval<T> inputs(Arguments& call, const Domain& domain, bool extrapolate, const py::object& packed, int threads) {
  TuckerEval<T> p{};
  if (packed.is_none()) {
    p = tensor<T>(call);
  } else {
    p = call.memo<Packed>("packed", packed).template sizes<T>(call);
    call.skip(), call.skip();
  }
  take_domain(call, domain, p.d, p.lo, p.hi);
  call.size("d", p.d);
  p.X = call.input("X", "P d");
  p.P = call["P"], p.extrapolate = extrapolate, p.threads = threads;
  return p;
}

template <class T, class Kernel, class Args>
void run(const Arguments& call, Kernel* kernel, const Args& args, const TuckerEval<T>& p) {
  run_at_points(call, kernel, args, p, p.extrapolate);
}

void tucker_eval(Arguments& call, const Domain& domain, const py::object& packed, int threads) {
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    TuckerEval<T> p = inputs<T>(call, domain, false, packed, threads);
    p.f = call.output("out", "P");
    run(call, kernels<T>().tucker_eval, p, p);
  });
}

template <class T>
void take_gradients(Arguments& call, TuckerEvalAdjoint<T>& q) {
  q.dcore = call.gradient_of("core");
  const auto dfactors = call.gradients_of("factors");
  for (std::size_t k = 0; k < dfactors.size(); ++k) q.dfactors[k] = dfactors[k];
  q.dX = call.gradient_of("X");
}

void tucker_eval_adjoint(Arguments& call, const Domain& domain, const py::object& packed, int threads) {
  if (!packed.is_none()) call.memo<Packed>("packed", packed);  // not used: the adjoint has its own layout
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    TuckerEvalAdjoint<T> q{};
    q.forward = inputs<T>(call, domain, false, py::none(), threads);
    q.grad = call.input("grad", "P");
    take_gradients(call, q);
    run(call, kernels<T>().tucker_eval_adjoint, q, q.forward);
  });
}

void tucker_derivatives(Arguments& call, const Domain& domain, bool gradient, bool hessian, bool extrapolate, const py::object& packed,
                        int threads) {
  call.require(gradient || !hessian, "the Hessian requires the gradient");
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    TuckerDerivatives<T> q{};
    q.value = inputs<T>(call, domain, extrapolate, packed, threads);
    q.value.f = call.output("f", "P");
    q.gradient = call.output_if(gradient, "gradient", "P d");
    q.hessian = call.output_if(hessian, "hessian", "P d d");
    run(call, kernels<T>().tucker_derivatives, q, q.value);
  });
}

void tucker_derivatives_adjoint(Arguments& call, const Domain& domain, bool gradient, bool hessian, bool extrapolate,
                                const py::object& packed, int threads) {
  if (!packed.is_none()) call.memo<Packed>("packed", packed);  // not used either
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    TuckerDerivativesAdjoint<T> q{};
    q.value.forward = inputs<T>(call, domain, extrapolate, py::none(), threads);
    q.value.grad = call.input("grad_f", "P");
    q.grad_gradient = call.input_if(gradient, "grad_gradient", "P d");
    q.grad_hessian = call.input_if(hessian, "grad_hessian", "P d d");
    take_gradients(call, q.value);
    run(call, kernels<T>().tucker_derivatives_adjoint, q, q.value.forward);
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
