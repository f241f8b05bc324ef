// A kernel along one line of differences, and what its adjoint sums up there.
//
// A kernel is a class with
//   value(difference)                          k at one vector of differences: difference(p) is that of coordinate p
//   adjoint(difference, grad, sums, slope)     adds grad times k's partials by its parameters to sums[0, sums()), and says k's derivative
//                                              in coordinate p by slope(p, derivative)
//   sums(), room()                             how many sums there are, and with workspace behind them
//   ns(), adjoint_ns()                         of one number
//   kHasSlopes, odd()                          whether slope is called; whether k(-d) = -k(d), or k(d)
// Computed in double precision throughout: differences of float32 numbers are then exact, and so are the turns of a wave.
#pragma once
#include "core/lanes/lanes.hpp"
#include "core/run/interrupt.hpp"
#include "core/run/partial_sums.hpp"

namespace quatrefoil::kron::mixture {
inline namespace QF_ISA {

using V = Lanes<double>;
constexpr int W = kWidth<V>;

// out_j = k(difference(p, j)) for j < n; difference gives W of them from j on.
template <class T, class Kernel, class Difference>
QF_HD void values_along(const Kernel& kernel, int64_t n, T* out, InterruptCheck& check, const Difference& difference) {
  for (int64_t j = 0; j < n; j += W) {
    const V value = kernel.value([&](int64_t p) { return difference(p, j); });
    store_first(out + j, converted<T>(value), n - j);
    check(W * kernel.ns());
  }
}

// Adds up over j < n. slope(p, j, derivative, grad) for W of them.
template <class T, class Kernel, class Difference, class Slope>
QF_HD void adjoint_along(const Kernel& kernel, int64_t n, const T* grad, V* sums, InterruptCheck& check, const Difference& difference,
                         const Slope& slope) {
  for (int64_t j = 0; j < n; j += W) {
    const V g = converted<double>(load_first<Lanes<T, W>>(grad + j, n - j));
    kernel.adjoint([&](int64_t p) { return difference(p, j); }, g, sums, [&](int64_t p, V derivative) { slope(p, j, derivative, g); });
    check(W * kernel.adjoint_ns());
  }
}

// The sums of a kernel, in parts that are made apart and added in their order: the same bits for any number of threads.
template <class Kernel>
class KernelSums {
 public:
  KernelSums(const Kernel& kernel, int64_t parts) : kernel_(kernel), total_(kernel.sums()), parts_(total_, 1, parts, kernel.sums()) {}
  // f(sums) for one part.
  template <class F>
  void part(int64_t i, F&& f) const {
    const Scratch<V> room(kernel_.room());
    for (int64_t k = 0; k < kernel_.sums(); ++k) room[k] = V{};
    f(static_cast<V*>(room));
    for (int64_t k = 0; k < kernel_.sums(); ++k) parts_.part(i)[k] = sum(room[k]);
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

constexpr int64_t kMostParts = 64;
constexpr double kMostBytes = 16 << 20;  // of what all parts hold together
// A number of parts that depends on sizes alone: at most one an item, where each holds so many numbers.
inline int64_t parts_of(int64_t items, int64_t numbers) {
  const int64_t most = int64_t(kMostBytes / (8 * double(numbers + 1)));
  return max<int64_t>(1, min(items, min(kMostParts, most)));
}

}  // namespace QF_ISA
}  // namespace quatrefoil::kron::mixture
