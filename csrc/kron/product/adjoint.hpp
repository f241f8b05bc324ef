// README (4) to (6): the adjoint of the product, chunk by chunk of the batch.
#pragma once
#include "kron/product/gram.hpp"
#include "kron/product/pass.hpp"

namespace quatrefoil::kron::product {
inline namespace QF_ISA {

// n numbers of workspace; std::bad_alloc where no size could hold them.
template <class T>
int64_t numbers(double n) {
  return n < 1e17 ? int64_t(n) : int64_t(1) << 58;
}

constexpr int64_t kChunkBytes = 2 << 20;  // of a batch: what is kept of one chunk stays in L3

template <class T>
struct Prepared {
  Plan<T>* plan;
  explicit Prepared(const Factors<T>& f) : plan(prepare(f, true)) {}
  ~Prepared() { release(plan); }
  Prepared(const Prepared&) = delete;
  Prepared& operator=(const Prepared&) = delete;
  const Stage<T>* stages() const { return plan->stage; }
};

template <class T>
Factors<T> flipped(Factors<T> f) {
  f.transpose = !f.transpose;
  return f;
}

// A chunk of the batch, README (4) to (6): x with the factors behind k applied, grad with those before k, and their sums over all else.
template <class T>
class BatchAdjoint {
 public:
  explicit BatchAdjoint(const Adjoint<T>& q) : q_(q), d_(q.factors.count), forward_(q.factors), backward_(flipped(q.factors)), behind_(d_) {
    for (int k = 0; k < d_; ++k) N_ *= double(n(k)), M_ *= double(m(k));
  }

  void run() {
    int64_t entries = 0;
    double kept = 0, largest = 0;
    for (int k = 0; k < d_; ++k) {
      entries += m(k) * n(k);
      largest = max(largest, around(k, n(k)));
      if (k + 1 < d_) kept += around(k, n(k));
    }
    const int64_t chunk = max(min(q_.B, int64_t(double(kChunkBytes) / double(sizeof(T)) / max(largest, 1.0))), int64_t(1));
    Scratch<double> sums(entries);
    set_zero<double>(sums, entries);
    if (q_.B > 0 && M_ > 0 && N_ > 0) {
      const Scratch<T> room(numbers<T>((kept + 2 * largest) * double(chunk)));
      for (int64_t b = 0; b < q_.B; b += chunk)
        one_chunk(b, min(chunk, q_.B - b), int64_t(kept) * chunk, int64_t(largest) * chunk, room, sums);
    } else {
      set_zero(q_.dx, q_.B * int64_t(N_));
    }
    const double* from = sums;
    for (int k = 0; k < d_; ++k) from = write(from, k);
  }

 private:
  int64_t m(int k) const { return forward_.stages()[k].m; }
  int64_t n(int k) const { return forward_.stages()[k].n; }
  // n_1 ... n_{k-1} size m_{k+1} ... m_d
  double around(int k, int64_t size) const {
    double p = double(size);
    for (int i = 0; i < k; ++i) p *= double(n(i));
    for (int i = k + 1; i < d_; ++i) p *= double(m(i));
    return p;
  }

  void one_chunk(int64_t b, int64_t B, int64_t kept, int64_t largest, T* room, double* sums) {
    behind_[d_ - 1] = q_.x + b * int64_t(N_);
    int64_t R = 1, L = B * int64_t(N_);
    T* to = room;
    for (int k = d_ - 1; k > 0; --k) {  // (4)
      L /= n(k);
      Pass<T>(forward_.stages(), k, k, k + 1 == d_, R).run(L, behind_[k], to, q_.threads);
      behind_[k - 1] = to;
      R *= m(k);
      to += L * R;
    }
    L = B;
    const T* g = q_.grad + b * int64_t(M_);
    for (int k = 0; k < d_; ++k) {
      gram(Pairs<T>{g, m(k), R}, Pairs<T>{behind_[k], n(k), R}, L * R, sums, q_.threads);  // (5)
      sums += m(k) * n(k);
      T* const next = k + 1 == d_ ? q_.dx + b * int64_t(N_) : room + kept + k % 2 * largest;
      Pass<T>(backward_.stages(), k, k, k + 1 == d_, R).run(L, g, next, q_.threads);  // (6)
      g = next;
      L *= n(k);
      if (k + 1 < d_) R /= m(k + 1);
    }
  }

  const double* write(const double* from, int k) {
    T* const to = q_.dfactors[k];
    for (int64_t i = 0; i < m(k); ++i)
      for (int64_t j = 0; j < n(k); ++j, ++from) to[q_.factors.transpose ? j * m(k) + i : i * n(k) + j] = T(*from);
    return from;
  }

  const Adjoint<T>& q_;
  int d_;
  Prepared<T> forward_, backward_;
  Scratch<const T*> behind_;
  double N_ = 1, M_ = 1;
};

template <class T>
void adjoint(const Adjoint<T>& q) {
  BatchAdjoint<T>(q).run();
}

}  // namespace QF_ISA
}  // namespace quatrefoil::kron::product
