// Kernels at lags: differences that are given, or those of a uniform axis. A number of lags is read, as many numbers are written.
#pragma once
#include "kron/mixture/line.hpp"

namespace quatrefoil::kron::mixture {
inline namespace QF_ISA {

constexpr int64_t kLagsAPart = 64;  // of an adjoint's sums, at least

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

// Adds the parameters' sums up; slope(j, derivative, grad) for the W lags from j on.
template <class T, class G, class Kernel, class Slope>
const double* adjoint_at(const Kernel& kernel, const KernelSums<Kernel>& sums, int64_t parts, const T* d, const G* grad, int64_t n,
                         int threads, const Slope& slope) {
  const int64_t vectors = (n + W - 1) / W;
  parallel_for(parts, threads, double(n) / double(parts) * kernel.adjoint_ns(), [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part)
      sums.part(part, [&](V* room) {
        const int64_t first = vectors * part / parts * W, last = min(n, vectors * (part + 1) / parts * W);
        InterruptCheck check;
        adjoint_along(
            kernel, last - first, grad + first, room, check,
            [&](int64_t, int64_t j) { return converted<double>(load_first<Lanes<T, W>>(d + first + j, n - first - j)); },
            [&](int64_t, int64_t j, V derivative, V g) { slope(first + j, derivative, g); });
      });
  });
  return sums.add_up(threads);
}
template <class Kernel>
int64_t parts_at(const Kernel& kernel, int64_t n) {
  return parts_of((n + kLagsAPart - 1) / kLagsAPart, kernel.sums());
}

}  // namespace QF_ISA
}  // namespace quatrefoil::kron::mixture
