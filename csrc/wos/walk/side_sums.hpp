// Sums over the source points of walks for several right-hand sides, one per lane. The points are packed, so no lane is idle.
#pragma once
#include "wos/data/sides.hpp"
#include "wos/walk/walker.hpp"

namespace quatrefoil::wos::walk {
inline namespace QF_ISA {

template <class V, int D>
class SideSums {
 public:
  using T = Element<V>;
  static constexpr int W = kWidth<V>;

  // For rows [first, first + nrhs) of a source. `area` multiplies the weights. A call adds at most `iterations` steps of a team.
  SideSums(const data::Data& source, int64_t first, int64_t nrhs, T area, int64_t iterations)
      : sides_(source, first, nrhs),
        area_(area),
        capacity_(sides_.count() ? iterations * W + data::kTogether : 0),
        points_(D * capacity_),
        weights_(capacity_),
        values_(capacity_ * W),
        spans_(capacity_ + W),
        sums_(2 * W * sides_.count()) {
    for (int64_t k = 0; k < 2 * W * count(); ++k) sums_[k] = 0;
  }
  int64_t count() const { return sides_.count(); }

  // ended[step W + lane]: the walk that ended in the lane before the step, or -1. Writes its sums to to[end nrhs + side], and those of its
  // first ball to `first_to`.
  void add(const Events<T, D>& events, const Bits<T>* ended, int64_t nrhs, double* to, double* first_to) {
    if (!count()) return;
    pack(events, ended);
    const T* x[D];
    for (int i = 0; i < D; ++i) x[i] = points_ + i * capacity_;
    for (int64_t side = 0; side < count(); side += W) {
      sides_.evaluate(x, packed_, side, static_cast<T*>(values_));
      add_up(side, nrhs, to, first_to);
    }
  }

 private:
  // The points of a walk in this batch, ending at `stop`. `end` is -1 if the walk continues.
  struct Span {
    int64_t stop, end, lane;
  };

  // Packs lane by lane, so that a walk's points are contiguous.
  void pack(const Events<T, D>& events, const Bits<T>* ended) {
    packed_ = walks_ = 0;
    for (int64_t l = 0; l < W; ++l) {
      for (int64_t k = l; k < events.iterations * W; k += W) {
        if (ended[k] >= 0) spans_[walks_++] = {packed_, int64_t(ended[k]), l};
        if (events.weight[k] == 0) continue;
        for (int i = 0; i < D; ++i) points_[i * capacity_ + packed_] = events.x[i][k];
        weights_[packed_++] = events.weight[k] * area_;
      }
      spans_[walks_++] = {packed_, -1, l};
    }
    for (int i = 0; i < D; ++i)
      for (int64_t k = packed_; k < packed_ + data::kTogether; ++k) points_[i * capacity_ + k] = 0;
  }

  void add_up(int64_t side, int64_t nrhs, double* to, double* first_to) {
    int64_t k = 0;
    for (int64_t j = 0; j < walks_; ++j) {
      const Span& span = spans_[j];
      T *const own = sums_ + span.lane * 2 * count() + side, *const own_first = own + count();
      V sum = load<V>(own), first = load<V>(own_first);
      for (; k < span.stop; ++k) {
        const V value = load<V>(values_ + k * W);
        if (weights_[k] < 0)
          first = -(weights_[k] * value);
        else
          sum = sum + weights_[k] * value;
      }
      if (span.end >= 0) {
        store_as<double>(to + span.end * nrhs + side, sum), store_as<double>(first_to + span.end * nrhs + side, first);
        sum = first = V{};
      }
      store(own, sum), store(own_first, first);
    }
  }

  const data::Sides<V, D> sides_;
  const T area_;
  const int64_t capacity_;
  int64_t packed_ = 0, walks_ = 0;
  const Scratch<T> points_, weights_, values_;  // (D, capacity), (capacity,), (capacity, W)
  const Scratch<Span> spans_;
  const Scratch<T> sums_;  // (W, 2, count): the walks in the lanes, and their first balls
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
