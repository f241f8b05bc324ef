// Records the ends of walks and their source points, for data that become available later. README, Operators.
#pragma once
#include "wos/walk/rounds.hpp"

namespace quatrefoil::wos::walk {
inline namespace QF_ISA {

// Writes the ends and source points of the walks of slots [first, last). `begin` (slots + 1,) is the index of each slot's first source
// point, or null if source points are not recorded.
template <class T>
class Records {
 public:
  Records(const Trace<T>& q, const int64_t* begin, int64_t first, int64_t last)
      : D_(q.forward.dimension), first_(first), q_(q), begin_(begin), recorded_(begin ? last - first : 0) {
    for (int64_t i = 0; begin && i < last - first; ++i) recorded_[i] = 0;
  }
  bool sources() const { return begin_ != nullptr; }
  void mark(int64_t slot, uint32_t mark) const {
    int64_t* const counts = q_.counts + 3 * slot;
    counts[0] = counts[1] = counts[2] = 0;
    add_mark(mark, counts);
  }
  double* end(int64_t slot, double weight) const {
    q_.weight[slot] = weight;
    return q_.exit + slot * D_;
  }
  // Adds a source point x(j), j < D. The points of a walk come in the order of its steps.
  template <class X>
  void source(int64_t slot, double weight, X&& x) {
    const int64_t at = begin_[slot] + recorded_[slot - first_]++;
    if (at >= q_.events) return;
    q_.share[at] = weight;
    for (int64_t j = 0; j < D_; ++j) q_.point[at * D_ + j] = double(x(j));
  }
  // Pads the slot with source points of weight 0 for steps that recorded none: rounding at the edge of a ball may make a weight 0.
  void fill(int64_t slot, const T* start) {
    while (recorded_[slot - first_] < begin_[slot + 1] - begin_[slot]) source(slot, 0, [&](int64_t j) { return start[j]; });
  }

 private:
  const int64_t D_, first_;
  const Trace<T>& q_;
  const int64_t* const begin_;
  const Scratch<int64_t> recorded_;
};

template <class V, int D>
class Recorder final : public Sink<V, D> {
 public:
  using typename Sink<V, D>::T;
  using typename Sink<V, D>::I;
  using Sink<V, D>::W;
  using Sink<V, D>::iterations;

  Recorder(Records<T>* records, double area)
      : Sink<V, D>(records->sources(), 1, kIterations, 1, T(area)), records_(*records), owner_(records->sources() ? iterations * W : 0) {
    for (int l = 0; l < W; ++l) this->share(0)[l] = 1, this->first_share(0)[l] = 1, slot_[l] = 0;
  }
  void begin(int lane, int64_t slot, int64_t, int64_t) override { slot_[lane] = slot; }
  void enter(I, const First<V, D>&) override {}
  void mark(int, int64_t, int64_t slot, uint32_t mark) override { records_.mark(slot, mark); }

  void sources(const Events<T, D>& events, const Ends<T, D>& ends, int64_t first) override {
    if (!records_.sources()) return;
    int64_t at[W], e = ends.count;
    for (int l = 0; l < W; ++l) at[l] = slot_[l];
    for (int64_t k = events.iterations - 1; k >= 0; --k) {  // backwards: events before an end belong to the walk that ended
      for (int l = 0; l < W; ++l) owner_[k * W + l] = at[l];
      for (; e > max(first, ends.before[k]); --e) at[ends.lane[e - 1]] = ends.slot[e - 1];
    }
    for (int64_t k = 0; k < events.iterations * W; ++k)
      if (events.weight[k] > 0) records_.source(owner_[k], double(events.weight[k]), [&](int64_t j) { return events.x[j][k]; });
  }
  void close(const Ends<T, D>& ends) override {
    for (int64_t e = 0; e < ends.count; ++e) {
      double* const x = records_.end(ends.slot[e], double(ends.weight[e]));
      for (int j = 0; j < D; ++j) x[j] = double(ends.x[j][e]);
    }
  }

 private:
  Records<T>& records_;
  int64_t slot_[W];  // latest slot of each lane
  const Scratch<int64_t> owner_;
};

template <class T>
void wide_records(const Walk<T>& p, const Slots& slots, int64_t first, int64_t last, double area, Records<T>& records) {
  const int64_t D = p.dimension;
  Wide<T> walks(p, 0, slots, records.sources());
  const auto events = [&] {
    for (int64_t k = 0; k < walks.event_count; ++k) {
      const double weight = walks.event_weight[k] * area;
      if (weight > 0) records.source(walks.slot[walks.owner[k]], weight, [&](int64_t j) { return walks.event[k * D + j]; });
    }
  };
  while (first < last) {
    first = walks.run(first, last, events, [&](uint32_t mark) { records.mark(walks.slot[walks.count], mark); });
    for (int64_t k = 0; k < walks.count; ++k) {
      double* const x = records.end(walks.slot[k], walks.end_weight[k]);
      for (int64_t j = 0; j < D; ++j) x[j] = walks.end[k * D + j];
    }
  }
}

// A team (walker.hpp) reads a cell and a list per step, all in the L2 cache, and writes 8 (D + 1) bytes per end and source point.
template <class T>
void trace_walks(const Trace<T>& q, const int64_t* begin) {
  const Walk<T>& p = q.forward;
  const int64_t D = p.dimension;
  const double area = p.frame[D] * p.frame[D];
  const Round all{0, 1, {0, p.N, p.first_walk, p.walks}};
  in_tasks(all, p.threads, false, kUsualSteps * kStepNs, [&](int64_t, int64_t first, int64_t last) {
    Records<T> records(q, begin, first, last);
    Records<T>* const to = &records;
    if (p.dimension > 3)
      wide_records(p, all.slots, first, last, area, records);
    else
      run_team<Recorder>(p, 0, all.slots, first, last, to, area);
    for (int64_t slot = first; begin && slot < last; ++slot) records.fill(slot, p.start + slot / p.walks * D);
  });
}

// Runs the walks twice if source points are recorded: the first pass counts them.
template <class T>
void trace(const Trace<T>& q) {
  const Walk<T>& p = q.forward;
  const int64_t D = p.dimension, slots = p.N * p.walks;
  for (int64_t slot = 0; slot < slots; ++slot) {  // defaults for points outside the domain, which no walk overwrites
    q.weight[slot] = __builtin_nan("");
    for (int64_t j = 0; j < D; ++j) q.exit[slot * D + j] = __builtin_nan("");
    for (int64_t j = 0; j < 3; ++j) q.counts[3 * slot + j] = 0;
  }
  for (int64_t k = 0; k < q.events; ++k) q.share[k] = 0;
  for (int64_t k = 0; k < q.events * D; ++k) q.point[k] = 0;
  if (slots == 0) return;
  trace_walks<T>(q, nullptr);
  if (!q.events) return;
  Scratch<int64_t> begin(slots + 1);
  begin[0] = 0;
  for (int64_t slot = 0; slot < slots; ++slot) begin[slot + 1] = begin[slot] + q.counts[3 * slot];
  trace_walks<T>(q, begin);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
