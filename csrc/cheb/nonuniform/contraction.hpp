// Without a grid, as exactly as the numbers: every polynomial at every point.
#pragma once
#include "cheb/nonuniform/args.hpp"
#include "cheb/scattered/adjoint.hpp"
#include "cheb/scattered/evaluate.hpp"

namespace quatrefoil::cheb::nonuniform {
inline namespace QF_ISA {

using scattered::kAdjointPoints;

// Coefficients as a Tucker tensor whose factors are the polynomials themselves.
template <class T>
scattered::TuckerEval<T> as_tensor(const Setting<T>& at, const T* C) {
  scattered::TuckerEval<T> p{};
  p.d = at.d, p.core = C, p.dense = true, p.X = at.X, p.P = at.P, p.threads = at.threads;
  for (int k = 0; k < at.d; ++k) p.n[k] = p.r[k] = at.n[k], p.lo[k] = at.lo[k], p.hi[k] = at.hi[k];
  return p;
}

constexpr int64_t kMostChunks = 64;               // of points, each with sums of its own
constexpr int64_t kSumBytes = int64_t(16) << 20;  // all of them together, unless one is larger
constexpr int64_t kLeadParts = 16;                // of the leading axes where chunks are few
constexpr double kRoundNs = 4e6;                  // of one task between two looks at the interrupt flag

template <class T>
class ContractedMoments {
 public:
  explicit ContractedMoments(const Moments<T>& m)
      : m_(m), p_(as_tensor<T>(m.at, nullptr)), l_(p_, scattered::kAdjointColumns), columns_(l_.columns[p_.d - 1]) {
    scattered::map_intervals(p_, intervals_);
    blocks_ = (p_.P + kAdjointPoints - 1) / kAdjointPoints;
    size_ = l_.lead * l_.rb_padded * columns_;
    chunks_ = max<int64_t>(1, min(min(kMostChunks, kSumBytes / max<int64_t>(1, size_ * int64_t(sizeof(T)))), blocks_));
    parts_ = chunks_ < kLeadParts ? min(l_.lead, kLeadParts) : 1;
  }

  // README (7). Which chunk a block of points belongs to follows from the sizes alone; a task has a chunk and a part of the leading axes.
  int64_t run() {
    const Scratch<T> sums(chunks_ * size_);
    parallel_for(chunks_, p_.threads, double(size_) * 0.1,
                 [&](int64_t begin, int64_t end) { set_zero(sums + begin * size_, (end - begin) * size_); });
    int64_t bad = -1;
    const double ns = double(size_ / parts_ + l_.total) * kMultiplyAddNs<T> * kAdjointPoints + 1000;
    const int64_t step = max<int64_t>(1, int64_t(kRoundNs / ns));
    for (int64_t round = 0; round * step * chunks_ < blocks_; ++round)
      parallel_for(chunks_ * parts_, p_.threads, ns * double(step), [&](int64_t begin, int64_t end) {
        Scratch<T> work(work_size());
        for (int64_t task = begin; task < end; ++task)
          for (int64_t i = round * step; i < (round + 1) * step; ++i) {
            const int64_t block = i * chunks_ + task / parts_;
            if (block >= blocks_) break;
            const int64_t found = add_block(block, task % parts_, work, sums + task / parts_ * size_);
            if (found >= 0) note_first(bad, found);
          }
      });
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
    alignas(64) T q[points] = {};  // 0 where there is no point: it adds nothing
    __builtin_memcpy(q, m_.q + first, std::size_t(left) * sizeof(T));
    const int64_t bad = scattered::map_points<T, points>(p_, intervals_, first, u, sign);
    for (int k = 0; k < d; ++k)
      scattered::tabulate<T, points>(u + k * points, sign + k * points, l_.columns[k], functions + l_.column_at[k] * points);
    const T* rows = scattered::row_functions(l_, functions, ones, points);
    scattered::turn(functions + l_.column_at[d - 1] * points, columns_, across);
    const int64_t begin = l_.lead * part / parts_, end = l_.lead * (part + 1) / parts_;
    for (int64_t a = begin; a < end; ++a) {
      int64_t at[kMaxAxes], rest = a;
      for (int k = l_.leading - 1; k >= 0; --k) at[k] = rest % p_.r[k], rest /= p_.r[k];
      for (int64_t i = 0; i < points; ++i) {
        T weight = q[i];
        for (int k = 0; k < l_.leading; ++k) weight *= functions[(l_.column_at[k] + at[k]) * points + i];
        for (int64_t c = 0; c < columns_; ++c) weighted[i * columns_ + c] = across[i * columns_ + c] * weight;
      }
      scattered::add_outer(rows, l_.rb_padded, weighted, columns_, sums + a * l_.rb_padded * columns_);
    }
    return bad;
  }

  // The chunks' sums in their order, in double precision.
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
