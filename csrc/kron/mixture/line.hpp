// A kernel and its adjoint along one line of differences, and at lags.
//
// A kernel is a class with
//   value(difference)                          k at one vector of differences: difference(p) is the one in coordinate p
//   adjoint(difference, grad, sums, slope)     adds grad times the derivatives of k with respect to its parameters to sums[0, sums()), and
//                                              calls slope(p, derivative) with the derivative with respect to coordinate p
//   sums(), workspace_size()                   the number of sums; that number plus the size of the workspace after them
//   ns(), adjoint_ns()                         times per element
//   kHasSlopes, odd()                          whether slope is called; whether k is odd (k(-d) = -k(d)) rather than even
// Kernels compute in double precision, in which differences of float32 numbers, and the phase of a wave in turns, are exact.
#pragma once
#include "core/lanes/lanes.hpp"
#include "core/run/interrupt.hpp"
#include "core/run/partial_sums.hpp"

namespace quatrefoil::kron::mixture {
inline namespace QF_ISA {

using V = Lanes<double>;
constexpr int W = kWidth<V>;

// out_j = k(difference(p, j)) for j < n; difference(p, j) returns the W differences from j on.
template <class T, class Kernel, class Difference>
QF_HD void values_along(const Kernel& kernel, int64_t n, T* out, InterruptCheck& check, const Difference& difference) {
  for (int64_t j = 0; j < n; j += W) {
    const V value = kernel.value([&](int64_t p) { return difference(p, j); });
    store_first(out + j, converted<T>(value), n - j);
    check(W * kernel.ns());
  }
}

// Adds the sums over j < n to `sums`, and calls slope(p, j, derivative, grad) once per vector of W.
template <class T, class Kernel, class Difference, class Slope>
QF_HD void adjoint_along(const Kernel& kernel, int64_t n, const T* grad, V* sums, InterruptCheck& check, const Difference& difference,
                         const Slope& slope) {
  for (int64_t j = 0; j < n; j += W) {
    const V g = converted<double>(load_first<Lanes<T, W>>(grad + j, n - j));
    kernel.adjoint([&](int64_t p) { return difference(p, j); }, g, sums, [&](int64_t p, V derivative) { slope(p, j, derivative, g); });
    check(W * kernel.adjoint_ns());
  }
}

// The sums of a kernel, in separate parts that are added in order, so that results are bitwise the same for any number of threads.
template <class Kernel>
class KernelSums {
 public:
  KernelSums(const Kernel& kernel, int64_t parts) : kernel_(kernel), total_(kernel.sums()), parts_(total_, 1, parts, kernel.sums()) {}
  template <class F>
  void part(int64_t i, F&& f) const {
    const Scratch<V> workspace(kernel_.workspace_size());
    for (int64_t k = 0; k < kernel_.sums(); ++k) workspace[k] = V{};
    f(static_cast<V*>(workspace));
    for (int64_t k = 0; k < kernel_.sums(); ++k) parts_.part(i)[k] = sum(workspace[k]);
  }
  const double* add_up(int threads) const {
    parts_.add_up(threads);
    return total_;
  }

 private:
  const Kernel& kernel_;
  Scratch<double> total_;
  PartialSums<double> parts_;
};

constexpr int64_t kMaxParts = 64;
constexpr double kMaxBytes = 16 << 20;  // of all parts together
// The number of parts with `numbers` elements each, at most one per item; depends only on sizes.
inline int64_t parts_of(int64_t items, int64_t numbers) {
  const int64_t max_parts = int64_t(kMaxBytes / (8 * double(numbers + 1)));
  return max<int64_t>(1, min(items, min(kMaxParts, max_parts)));
}

constexpr int64_t kLagsPerPart = 64;  // the sums over n lags have at most ceil(n / kLagsPerPart) parts

template <class T, class To, class Kernel>
void values_at(const Kernel& kernel, const T* d, int64_t n, To* out, int threads) {
  parallel_for((n + W - 1) / W, threads, W * kernel.ns(), [&](int64_t begin, int64_t end) {
    InterruptCheck check;
    values_along(kernel, min(n, end * W) - begin * W, out + begin * W, check, [&](int64_t, int64_t j) {
      const int64_t at = begin * W + j;
      return converted<double>(load_first<Lanes<T, W>>(d + at, n - at));
    });
  });
}

// Computes the sums of parameters, and calls slope(j, derivative, grad) for the W lags from j on.
template <class T, class G, class Kernel, class Slope>
const double* adjoint_at(const Kernel& kernel, const KernelSums<Kernel>& sums, int64_t parts, const T* d, const G* grad, int64_t n,
                         int threads, const Slope& slope) {
  const int64_t vectors = (n + W - 1) / W;
  parallel_for(parts, threads, double(n) / double(parts) * kernel.adjoint_ns(), [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part)
      sums.part(part, [&](V* workspace) {
        const int64_t first = vectors * part / parts * W, last = min(n, vectors * (part + 1) / parts * W);
        InterruptCheck check;
        adjoint_along(
            kernel, last - first, grad + first, workspace, check,
            [&](int64_t, int64_t j) { return converted<double>(load_first<Lanes<T, W>>(d + first + j, n - first - j)); },
            [&](int64_t, int64_t j, V derivative, V g) { slope(first + j, derivative, g); });
      });
  });
  return sums.add_up(threads);
}
template <class Kernel>
int64_t parts_at(const Kernel& kernel, int64_t n) {
  return parts_of((n + kLagsPerPart - 1) / kLagsPerPart, kernel.sums());
}

}  // namespace QF_ISA
}  // namespace quatrefoil::kron::mixture
