// Merges walks' values into the dyadic nodes of their range. README (5), (6).
#pragma once
#include "wos/walk/args.hpp"
#include "wos/walk/formula.hpp"

namespace quatrefoil::wos::walk {
inline namespace QF_ISA {

// Computes the nodes of one channel of one point from the values of its walks, in order. V has one right-hand side per lane. A sample is
// the mean of `group` walks, 1 or 2. Consecutive nodes are `stride` elements apart, consecutive right-hand sides `between` elements.
template <class V>
class Nodes {
 public:
  Nodes() = default;
  Nodes(int64_t first_walk, int64_t walks, int group, double* mean, double* m2, int64_t stride, int64_t between)
      : at_(first_walk >> (group - 1)),
        end_(at_ + (walks >> (group - 1))),
        size_(node_size(at_, end_)),
        group_(group),
        stride_(stride),
        between_(between),
        mean_(mean),
        m2_(m2) {}

  // The values of consecutive walks are `nrhs` elements apart.
  void add(const double* values, int64_t walks, int64_t nrhs) {
    for (int64_t i = 0; i < walks; i += group_) {
      const V first = load<V>(values + i * nrhs);
      means_[depth_] = group_ == 1 ? first : (first + load<V>(values + (i + 1) * nrhs)) * 0.5;
      m2s_[depth_] = V{};
      ++depth_;
      int64_t size = 1;
      for (int64_t done = ++done_; done % 2 == 0; done /= 2, size *= 2) {
        --depth_;
        merge_equal(double(size), means_[depth_ - 1], m2s_[depth_ - 1], means_[depth_], m2s_[depth_]);
      }
      if (done_ == size_) next();
    }
  }

 private:
  void next() {
    double mean[kWidth<V>], m2[kWidth<V>];
    store(mean, means_[0]), store(m2, m2s_[0]);
    for (int l = 0; l < kWidth<V>; ++l) mean_[l * between_] = mean[l], m2_[l * between_] = m2[l];
    mean_ += stride_;
    m2_ += stride_;
    at_ += size_;
    size_ = node_size(at_, end_);
    done_ = depth_ = 0;
  }
  int64_t at_ = 0, end_ = 0, size_ = 1, done_ = 0;
  int group_ = 1, depth_ = 0;
  int64_t stride_ = 1, between_ = 1;
  double *mean_ = nullptr, *m2_ = nullptr;
  V means_[64], m2s_[64];
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
