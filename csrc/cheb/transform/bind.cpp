// Checks arrays from Python and puts them into args.
#include "cheb/transform/bind.hpp"

#include <pybind11/stl.h>

#include <cstring>

#include "py/arguments.hpp"

namespace quatrefoil::cheb::transform {
namespace {

using Axes = std::vector<std::int64_t>;

// Transforms one axis at a time, all except the first in place.
template <class T>
void run(const Arguments& call, const View& view, const T* x, T* y, const Axes& axes, Transform<T> p) {
  unsigned seen = 0;
  for (std::int64_t axis : axes) {
    call.require(axis >= 0 && axis < view.rank && !(seen >> axis & 1u), "axes must be distinct and within the array's dimensions");
    call.require(view.shape[axis] > 0, "a transformed axis must have at least one point");
    seen |= 1u << axis;
  }
  p.x = x, p.y = y;
  const auto all_axes = [&](Transform<T> p) {
    if (axes.empty() && view.size() > 0) std::memcpy(y, x, std::size_t(view.size()) * sizeof(T));
    for (std::int64_t axis : axes) {
      p.before = p.after = 1, p.n = view.shape[axis];
      for (int i = 0; i < view.rank; ++i)
        if (i != axis) (i < axis ? p.before : p.after) *= view.shape[i];
      kernels<T>().transform(p);
      p.x = y;
    }
  };
  call.run(all_axes, p);
}

template <bool to_coefficients>
void transform(Arguments& call, const Axes& axes, int threads) {
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    const auto x = call.input("the array", "...");
    Transform<T> p{};
    p.interpolates = p.from_the_end = to_coefficients, p.threads = threads;
    T* const y = call.output("out", "...");
    run<T>(call, x.view(), x, y, axes, p);
  });
}

// The transposed map: the same map with the other array reversed.
template <bool to_coefficients>
void transform_vjp(Arguments& call, const Axes& axes, int threads) {
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    [[maybe_unused]] const T* const array = call.input("the array", "...");  // only checked: the map is linear
    const auto grad = call.input("grad", "...");
    Transform<T> p{};
    p.interpolates = to_coefficients, p.from_the_end = !to_coefficients, p.threads = threads;
    T* const y = call.gradient_of("the array");
    run<T>(call, grad.view(), grad, y, axes, p);
  });
}

}  // namespace

void bind(py::module_& m) {
  define(m, "vals2coeffs", &transform<true>);
  define(m, "vals2coeffs_vjp", &transform_vjp<true>);
  define(m, "coeffs2vals", &transform<false>);
  define(m, "coeffs2vals_vjp", &transform_vjp<false>);
}

}  // namespace quatrefoil::cheb::transform
