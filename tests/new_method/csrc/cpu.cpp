// Exponential decay and its gradients, README (1)-(3): x is read once, y written once. Compiled once per instruction set.
#include "core/lanes/elementary.hpp"
#include "core/run/interrupt.hpp"
#include "core/run/parallel.hpp"
#include "ssm/decay/args.hpp"

namespace quatrefoil::ssm::decay {
inline namespace QF_ISA {

constexpr double kSampleNs = 0.5;  // one sample: estimated

// e^{-rate l} of sample l and those after it.
template <class V>
V factors(Element<V> rate, int64_t l) {
  Element<V> exponents[kWidth<V>];
  for (int i = 0; i < kWidth<V>; ++i) exponents[i] = -rate * Element<V>(l + i);
  return elementary::exp(load<V>(exponents));
}

// One row, (1) or (2).
template <class T>
void scale_row(T rate, const T* x, T* y, int64_t L) {
  using V = Lanes<T>;
  in_parts<kWidth<V>>(0, L, kSampleNs, [&](int64_t begin, int64_t end) {
    for (int64_t l = begin; l < end; l += kWidth<V>) store_first(y + l, V(factors<V>(rate, l) * load_first<V>(x + l, end - l)), end - l);
  });
}

template <class T>
void decay(const Decay<T>& p) {
  parallel_for(p.B * p.H, p.threads, kSampleNs * double(p.L), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) scale_row(p.rate[row % p.H], p.x + row * p.L, p.y + row * p.L, p.L);
  });
}

template <class T>
void decay_adjoint(const DecayAdjoint<T>& q) {
  const Decay<T>& p = q.forward;
  parallel_for(p.H, p.threads, 3 * kSampleNs * double(p.B * p.L), [&](int64_t begin, int64_t end) {
    for (int64_t h = begin; h < end; ++h) {
      double sum = 0;  // (3)
      for (int64_t b = 0; b < p.B; ++b) {
        const int64_t row = (b * p.H + h) * p.L;
        scale_row(p.rate[h], q.grad + row, q.dx + row, p.L);
        for (int64_t l = 0; l < p.L; ++l) sum += double(l) * double(p.x[row + l]) * double(q.dx[row + l]);
        check_interrupt(2 * kSampleNs * double(p.L));
      }
      q.drate[h] = T(-sum);
    }
  });
}

QF_KERNELS(decay<T>, decay_adjoint<T>)

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::decay
