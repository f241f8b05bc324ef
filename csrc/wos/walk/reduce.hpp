// Walks' values -> the dyadic nodes of their range. README (5), (6).
#pragma once
#include "wos/walk/args.hpp"
#include "wos/walk/formula.hpp"

namespace quatrefoil::wos::walk {
inline namespace QF_ISA {

// The nodes of one point, fed with the values of its walks in their order.
class Nodes {
 public:
  Nodes(int64_t first, int64_t walks, double* mean, double* m2)
      : at_(first), end_(first + walks), size_(node_size(first, end_)), mean_(mean), m2_(m2) {}

  void add(const double* values, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
      means_[depth_] = values[i];
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
    *mean_++ = means_[0];
    *m2_++ = m2s_[0];
    at_ += size_;
    size_ = node_size(at_, end_);
    done_ = depth_ = 0;
  }
  int64_t at_, end_, size_, done_ = 0;
  double *mean_, *m2_;
  int depth_ = 0;
  double means_[64], m2s_[64];
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
