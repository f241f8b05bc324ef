// Records the points where walks evaluate data, for data that become available later. README, Operators.
#pragma once
#include "wos/walk/lists.hpp"

namespace quatrefoil::wos::walk {
inline namespace QF_ISA {

// Counts the points of every walk if `begin` is null. Otherwise writes them, from index begin[kind (slots) + slot] on.
template <class V, int D, class Weight>
class ListRecords final : public ListSink<Element<V>, D, Weight> {
 public:
  using T = Element<V>;
  ListRecords(const Walk<T>& p, int64_t instance, const Slots& slots, int64_t first, int64_t last, const double* slopes, int64_t,
              const Recording& to, const int64_t* begin)
      : ListSink<T, D, Weight>(p, instance, slots, first, last, slopes),
        p_(p),
        to_(to),
        begin_(begin),
        written_(begin ? kPoints * count_ : 0) {
    for (int64_t k = 0; begin && k < kPoints * count_; ++k) written_[k] = begin[k / count_ * p.N * p.walks + first + k % count_];
  }
  bool wants(int kind) const override { return p_.data(kind).kind != data::Kind::none; }
  void mark(int64_t slot, uint32_t mark, uint32_t beyond) override {
    int64_t* const counts = to_.counts + 3 * slot;
    counts[0] = counts[1] = counts[2] = 0;
    add_mark(mark, counts);
    to_.beyond[slot] = beyond;
  }
  void take(int list, const List<T, D, Weight>& points, int64_t) override {
    for (int64_t e = 0; e < points.count; ++e) {
      const int64_t slot = points.slot()[e], kind = list - 1;
      if (list == on_boundary)
        put(points, e, to_.exit + slot * D, to_.weight + slot);
      else if (!begin_)
        ++to_.met[slot * kPoints + kind];
      else if (const int64_t at = written_[kind * count_ + slot - first_]++; at < to_.events)
        put(points, e, to_.point + at * D, to_.share + at);
    }
  }

 private:
  static constexpr int64_t kPoints = kMet - 1;  // kinds of points along a walk
  using ListSink<T, D, Weight>::first_;
  using ListSink<T, D, Weight>::count_;
  static void put(const List<T, D, Weight>& points, int64_t e, double* x, double* weight) {
    for (int i = 0; i < D; ++i) x[i] = double(points.x(i)[e]);
    *weight = double(points.weight()[e]);
  }
  const Walk<T>& p_;
  const Recording& to_;
  const int64_t* const begin_;
  const Scratch<int64_t> written_;  // (kPoints, slots): where each walk's next point goes
};

// Records the walks of one instance. run(slots, first, last, begin) runs those of slots [first, last). A second pass writes the points that
// the first has counted.
template <class T, class F>
void record(const Walk<T>& p, const Recording& to, bool calls, double walk_ns, F&& run) {
  const int64_t D = p.dimension, total = p.N * p.walks, kinds = kMet - 1;
  for (int64_t slot = 0; slot < total; ++slot) {  // defaults for walks without an end
    const T* const start = p.start + slot / p.walks * D;
    to.weight[slot] = start[0] == start[0] ? 0 : __builtin_nan("");
    for (int64_t i = 0; i < D; ++i) to.exit[slot * D + i] = double(start[i]);
    for (int64_t i = 0; i < 3; ++i) to.counts[3 * slot + i] = 0;
    for (int64_t i = 0; i < kinds; ++i) to.met[kinds * slot + i] = 0;
    to.beyond[slot] = 0;
  }
  for (int64_t k = 0; k < to.events; ++k) to.share[k] = 0;
  for (int64_t k = 0; k < to.events * D; ++k) to.point[k] = 0;
  if (total == 0) return;
  const Round all{0, 1, {0, p.N, p.first_walk, p.walks}};
  const auto pass = [&](const int64_t* begin) {
    in_tasks(all, p.threads, calls, walk_ns, [&](int64_t, int64_t first, int64_t last) { run(all.slots, first, last, begin); });
  };
  pass(nullptr);
  if (!to.events) return;
  const Scratch<int64_t> begin(kinds * total);
  int64_t at = 0;
  for (int64_t k = 0; k < kinds * total; ++k) begin[k] = at, at += to.met[k % total * kinds + k / total];
  pass(begin);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
