// Walks' values -> the dyadic nodes of their range. README (5), (6).
#pragma once
#include "wos/walk/args.hpp"
#include "wos/walk/formula.hpp"

namespace quatrefoil::wos::walk {
inline namespace QF_ISA {

// The nodes of one channel of one point, fed with the values of its walks in their order. A sample is the mean of `group` walks, 1 or 2;
// nodes lie `stride` numbers apart.
class Nodes {
 public:
  Nodes() = default;
  Nodes(int64_t first_walk, int64_t walks, int group, double* mean, double* m2, int stride)
      : at_(first_walk / group),
        end_(at_ + walks / group),
        size_(node_size(at_, end_)),
        group_(group),
        stride_(stride),
        mean_(mean),
        m2_(m2) {}

  void add(const double* values, int64_t walks) {
    for (int64_t i = 0; i < walks; i += group_) {
      means_[depth_] = group_ == 1 ? values[i] : (values[i] + values[i + 1]) * 0.5;
      m2s_[depth_] = 0;
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
    *mean_ = means_[0];
    *m2_ = m2s_[0];
    mean_ += stride_;
    m2_ += stride_;
    at_ += size_;
    size_ = node_size(at_, end_);
    done_ = depth_ = 0;
  }
  int64_t at_ = 0, end_ = 0, size_ = 1, done_ = 0;
  int group_ = 1, stride_ = 1;
  double *mean_ = nullptr, *m2_ = nullptr;
  int depth_ = 0;
  double means_[64], m2s_[64];
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
