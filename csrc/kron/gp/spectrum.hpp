// The sums over z = Qᵀ y and the eigenvalues λ for the likelihood and its gradients, in one pass: reads N elements, writes N.
#pragma once
#include "core/lanes/elementary.hpp"
#include "core/run/interrupt.hpp"
#include "core/run/parallel.hpp"
#include "core/run/partial_sums.hpp"
#include "kron/gp/args.hpp"
#include "kron/gp/formula.hpp"

namespace quatrefoil::kron::gp {
inline namespace QF_ISA {

constexpr int64_t kSumParts = 16;  // enough for many threads, but quick to add up
constexpr double kNumberNs = 2;    // estimated: a logarithm, two divisions

// Processes rows of the last axis, and adds to the sums of one part.
class Rows {
 public:
  using V = Lanes<double>;
  static constexpr int64_t W = kLanes<double>;

  // `own`: sums of the shrinkages for every axis, then the four sums.
  Rows(const Spectrum& q, const double* roots, double* own) : q_(q), roots_(roots), own_(own) {
    for (int k = 0; k + 1 < q.d; ++k) last_ += q.n[k];
  }

  void run(int64_t begin, int64_t end) {
    const int64_t n = q_.n[q_.d - 1];
    InterruptCheck check;
    for (int64_t row = begin; row < end; ++row) {
      check(double(n) * kNumberNs);
      const double w = weight(row);
      one_row(w, square_root(w), n, q_.z + row * n, q_.weighted + row * n);
      add_shrinkage();
    }
    for (int i = 0; i < 4; ++i) own_[last_ + n + i] += sum(lanes_[i]) + scalars_[i];
  }

 private:
  // The product of the eigenvalues of the axes before the last; stores their indices.
  double weight(int64_t row) {
    double w = 1;
    for (int k = q_.d - 2; k >= 0; --k) {
      index_[k] = row % q_.n[k], row /= q_.n[k];
      w *= q_.values[k][index_[k]];
    }
    return w;
  }
  void add_shrinkage() {
    int64_t at = 0;
    for (int k = 0; k + 1 < q_.d; ++k) {
      own_[at + index_[k]] += row_shrinkage_;
      at += q_.n[k];
    }
  }
  void one_row(double w, double root, int64_t n, const double* z, double* weighted) {
    const double* const l = q_.values[q_.d - 1];
    double* const shrinkage = own_ + last_;
    V total{};
    int64_t j = 0;
    for (; j + W <= n; j += W) {
      const Entry<V> e = entry(load<V>(z + j), w * load<V>(l + j), q_.noise);
      store<V>(weighted + j, e.a * (root * load<V>(roots_ + j)));
      store<V>(shrinkage + j, load<V>(shrinkage + j) + e.shrinkage);
      total = total + e.shrinkage;
      add(lanes_, load<V>(z + j), e);
    }
    row_shrinkage_ = sum(total);
    for (; j < n; ++j) {
      const Entry<double> e = entry(z[j], w * l[j], q_.noise);
      weighted[j] = e.a * (root * roots_[j]);
      shrinkage[j] += e.shrinkage;
      row_shrinkage_ += e.shrinkage;
      add(scalars_, z[j], e);
    }
  }
  template <class U>
  static void add(U* sums, U z, const Entry<U>& e) {
    sums[0] = sums[0] + z * e.a;
    sums[1] = sums[1] + e.log;
    sums[2] = sums[2] + e.a * e.a;
    sums[3] = sums[3] + e.inverse;
  }

  const Spectrum& q_;
  const double* roots_;
  double* own_;
  int64_t last_ = 0, index_[kMaxAxes];
  double row_shrinkage_ = 0, scalars_[4] = {0, 0, 0, 0};
  V lanes_[4] = {V{}, V{}, V{}, V{}};
};

inline void spectrum(const Spectrum& q) {
  int64_t rows = 1, sizes = 0;
  for (int k = 0; k < q.d; ++k) sizes += q.n[k], rows *= k + 1 < q.d ? q.n[k] : 1;
  const int64_t n = q.n[q.d - 1], size = sizes + 4;
  set_zero(q.shrinkages, sizes), set_zero(q.sums, 4);
  if (rows * n == 0) return;
  const Scratch<double> roots(n);
  for (int64_t j = 0; j < n; ++j) static_cast<double*>(roots)[j] = square_root(q.values[q.d - 1][j]);
  const int64_t parts = min(kSumParts, rows);
  const Scratch<double> sums(parts * size);
  parallel_for(parts, q.threads, double(rows * n) / double(parts) * kNumberNs, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      double* const own = static_cast<double*>(sums) + part * size;
      set_zero(own, size);
      Rows(q, roots, own).run(rows * part / parts, rows * (part + 1) / parts);
    }
  });
  add_parts<double>(parts, sums, size, sizes, q.shrinkages);
  add_parts<double>(parts, static_cast<double*>(sums) + sizes, size, 4, q.sums);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::kron::gp
