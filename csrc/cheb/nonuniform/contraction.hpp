// Contraction without a grid, exact to rounding: evaluates every polynomial at every point.
#pragma once
#include "cheb/nonuniform/args.hpp"
#include "cheb/scattered/adjoint.hpp"
#include "cheb/scattered/evaluate.hpp"

namespace quatrefoil::cheb::nonuniform {
inline namespace QF_ISA {

using scattered::kAdjointPoints;

// Represents the coefficients as a Tucker tensor whose factor functions are the polynomials themselves.
template <class T>
scattered::TuckerEval<T> as_tensor(const Setting<T>& at, const T* C) {
  scattered::TuckerEval<T> p{};
  p.d = at.d, p.core = C, p.dense = true, p.X = at.X, p.P = at.P, p.threads = at.threads;
  for (int k = 0; k < at.d; ++k) p.n[k] = p.r[k] = at.n[k], p.lo[k] = at.lo[k], p.hi[k] = at.hi[k];
  return p;
}

constexpr int64_t kLeadParts = 16;  // parts of the leading axes if there are few chunks

template <class T>
class ContractedMoments {
 public:
  explicit ContractedMoments(const Moments<T>& m)
      : m_(m), p_(as_tensor<T>(m.at, nullptr)), l_(p_, scattered::kAdjointColumns), columns_(l_.columns[p_.d - 1]) {
    scattered::map_intervals(p_, intervals_);
    blocks_ = (p_.P + kAdjointPoints - 1) / kAdjointPoints;
    size_ = l_.lead * l_.rb_padded * columns_;
    chunks_ = max<int64_t>(1, scattered::chunks_of<T>(blocks_, size_));
    parts_ = chunks_ < kLeadParts ? min(l_.lead, kLeadParts) : 1;
  }

  // README (7). A task is a chunk of points and a part of the leading axes.
  int64_t run() {
    const Scratch<T> sums(chunks_ * size_);
    parallel_for(chunks_, p_.threads, double(size_) * 0.1,
                 [&](int64_t begin, int64_t end) { set_zero(sums + begin * size_, (end - begin) * size_); });
    const double ns = double(size_ / parts_ + l_.total) * kMultiplyAddNs<T> * kAdjointPoints + 1000;
    const auto add = [&](int64_t block, int64_t chunk, int64_t part, T* work) {
      return add_block(block, part, work, sums + chunk * size_);
    };
    const int64_t bad = scattered::for_chunks<T>(blocks_, chunks_, parts_, p_.threads, ns, work_size(), add);
    collect(sums);
    return bad;
  }

 private:
  int64_t work_size() const { return kAdjointPoints * (l_.total + l_.rb_padded + 2 * p_.d + 2 * columns_); }

  int64_t add_block(int64_t block, int64_t part, T* functions, T* sums) const {
    constexpr int64_t points = kAdjointPoints;
    const int d = p_.d;
    const int64_t first = block * points, left = min<int64_t>(points, p_.P - first);
    T *ones = functions + l_.total * points, *u = ones + l_.rb_padded * points, *sign = u + d * points, *across = sign + d * points,
      *weighted = across + columns_ * points;
    alignas(64) T q[points] = {};  // 0 for missing points, so that they add nothing
    __builtin_memcpy(q, m_.q + first, std::size_t(left) * sizeof(T));
    const int64_t bad = scattered::map_points<T, points>(p_, intervals_, first, u, sign);
    for (int k = 0; k < d; ++k)
      scattered::tabulate<T, points>(u + k * points, sign + k * points, l_.columns[k], functions + l_.column_at[k] * points);
    const T* rows = scattered::row_functions(l_, functions, ones, points);
    const int64_t begin = l_.lead * part / parts_, end = l_.lead * (part + 1) / parts_;
    scattered::add_core<T>(l_, p_.r, functions, rows, q, across, weighted, begin, end, sums);
    return bad;
  }

  // Adds the chunks' sums in order, in double precision.
  void collect(const T* sums) const {
    parallel_for(l_.lead * l_.rb, p_.threads, double(chunks_ * l_.rc), [&](int64_t begin, int64_t end) {
      Scratch<double> row(l_.rc);
      for (int64_t i = begin; i < end; ++i) {
        set_zero<double>(row, l_.rc);
        add_parts<T, double>(chunks_, sums + (i / l_.rb * l_.rb_padded + i % l_.rb) * columns_, size_, l_.rc, row);
        for (int64_t c = 0; c < l_.rc; ++c) m_.M[i * l_.rc + c] = T(row[c]);
      }
    });
  }

  const Moments<T>& m_;
  scattered::TuckerEval<T> p_;
  scattered::Layout<T> l_;
  int64_t columns_, blocks_, size_, chunks_, parts_;
  scattered::Interval intervals_[kMaxAxes];
};

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::nonuniform
