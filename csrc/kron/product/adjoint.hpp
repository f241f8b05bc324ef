// README (4) to (6): the adjoint of the product, in chunks of the batch.
#pragma once
#include "kron/product/formula.hpp"
#include "kron/product/gram.hpp"
#include "kron/product/pass.hpp"

namespace quatrefoil::kron::product {
inline namespace QF_ISA {

constexpr int64_t kChunkBytes = 2 << 20;  // per array of a chunk of the batch, so that all of them stay in L3
constexpr double kNoMemory = 1e17;        // a request for more elements raises std::bad_alloc

template <class T>
struct Prepared {
  Plan<T>* plan;
  explicit Prepared(const Factors<T>& f) : plan(prepare(f, false)) {}
  ~Prepared() { release(plan); }
  Prepared(const Prepared&) = delete;
  Prepared& operator=(const Prepared&) = delete;
};

template <class T>
void adjoint(const Adjoint<T>& q) {
  const int d = q.factors.count;
  const bool transpose = q.factors.transpose;
  const Prepared<T> forward(q.factors), backward({q.factors.list, d, !transpose});
  const Stage<T>* const stage = forward.plan->stage;
  const GradientSizes size(stage, d);
  const int64_t N = int64_t(size.N), M = int64_t(size.M), entries = int64_t(size.entries);
  const Scratch<double> sums(entries);
  set_zero<double>(sums, entries);
  if (q.B > 0 && M > 0 && N > 0) {
    const int64_t chunk = max(min(q.B, int64_t(double(kChunkBytes) / double(sizeof(T)) / max(size.largest, 1.0))), int64_t(1));
    const double numbers = (size.arrays + 2 * size.largest) * double(chunk);
    const Scratch<T> workspace(numbers < kNoMemory ? int64_t(numbers) : int64_t(1) << 58);
    const Scratch<const T*> inputs(d);
    const auto multiply = [&](bool transposed, int k, int64_t L, int64_t R, const T* from, T* to) {
      Pass<T>((transposed ? backward : forward).plan->stage, k, k, k + 1 == d, R).run(L, from, to, q.threads);
    };
    for (int64_t b = 0; b < q.B; b += chunk) {
      double* to = sums;
      const auto add_gram = [&](int k, int64_t L, int64_t R, const T* g, const T* x) {
        gram(Pairs<T>{g, stage[k].m, R}, Pairs<T>{x, stage[k].n, R}, L * R, to, q.threads);
        to += stage[k].m * stage[k].n;
      };
      gradient<T>(stage, d, min(chunk, q.B - b), q.x + b * N, q.grad + b * M, q.dx + b * N, inputs, workspace,
                  workspace + int64_t(size.arrays) * chunk, int64_t(size.largest) * chunk, multiply, add_gram);
    }
  } else {
    set_zero(q.dx, q.B * N);
  }
  const double* from = sums;
  for (int k = 0; k < d; ++k) {
    const int64_t m = stage[k].m, n = stage[k].n;
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j, ++from) q.dfactors[k][transpose ? j * m + i : i * n + j] = T(*from);
  }
}

}  // namespace QF_ISA
}  // namespace quatrefoil::kron::product
