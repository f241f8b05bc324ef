// Sums in parts whose number depends only on the sizes, so that results are bitwise the same for any number of threads.
#pragma once
#include "core/lanes/cplx.hpp"
#include "core/run/parallel.hpp"

namespace quatrefoil {
inline namespace QF_ISA {

// Adds `count` parts of length n, `stride` apart, to `to`, in order.
template <class E, class To>
void add_parts(int64_t count, const E* parts, int64_t stride, int64_t n, To* to) {
  for (int64_t k = 0; k < count; ++k)
    for (int64_t i = 0; i < n; ++i) to[i] = to[i] + To(parts[k * stride + i]);
}

// `sums` results of `size` elements, each in `count` parts that are computed separately and added in order.
template <class E>
class PartialSums {
 public:
  PartialSums(E* out, int64_t sums, int64_t count, int64_t size)
      : out_(out), sums_(sums), count_(count), size_(size), own_(out && count > 1 ? sums * count * size : 0) {}
  explicit operator bool() const { return out_ != nullptr; }
  E* part(int64_t i) const { return (count_ > 1 ? own_ : out_) + i * size_; }
  void add_up(int threads) const {
    if (!out_ || count_ == 1) return;
    parallel_for(sums_ * size_, threads, double(count_), [&](int64_t begin, int64_t end) {
      while (begin < end) {
        const int64_t sum = begin / size_, at = begin % size_, n = min(end - begin, size_ - at);
        set_zero(out_ + begin, n);
        add_parts(count_, part(sum * count_) + at, size_, n, out_ + begin);
        begin += n;
      }
    });
  }

 private:
  E* out_;
  int64_t sums_, count_, size_;
  Scratch<E> own_;
};

}  // namespace QF_ISA
}  // namespace quatrefoil
