// What the walks of one instance are worth: sources along the way, boundary values at their ends.
#pragma once
#include "wos/data/field.hpp"
#include "wos/walk/walker.hpp"

namespace quatrefoil::wos::walk {
inline namespace QF_ISA {

// `values` and `marks` have a number a slot; a channel of the values begins every `slots` numbers.
template <class V, int D>
class Values final : public Sink<V, D> {
 public:
  using typename Sink<V, D>::T;
  using typename Sink<V, D>::I;
  using Sink<V, D>::W;
  using Sink<V, D>::wants_sources;
  using Sink<V, D>::iterations;

  Values(const Walk<T>& p, int64_t instance, double* values, int64_t slots, uint32_t* marks)
      : Sink<V, D>(p.source.kind != data::Kind::none, p.dirichlet.kind == data::Kind::function ? kCallPoints : 1,
                   p.source.kind == data::Kind::function ? max<int64_t>(kIterations, kCallPoints * 3 / 2 / W) : kIterations),
        pairs_(p.gradient),
        slots_(slots),
        values_(values),
        marks_(marks),
        boundary_{p.dirichlet, instance, p.first_instance, p.frame + instance * (D + 2)},
        source_{p.source, instance, p.first_instance, p.frame + instance * (D + 2)},
        event_values_(wants_sources ? iterations * W : 0),
        end_firsts_(pairs_ ? kFirst * most_ends<V>(iterations) : 0),
        end_sums_(2 * most_ends<V>(iterations)),
        end_values_(2 * most_ends<V>(iterations)),
        absolute_(most_ends<V>(iterations) * D) {
    for (int l = 0; l < W; ++l) sum_[l] = first_sum_[l] = 0, this->share_[l] = 1, this->first_share_[l] = -1;
    for (int l = 0; l < W; ++l) far_[l] = first_far_[l] = 0;
  }

  void begin(int lane, int64_t, int64_t, int64_t) override {
    if (!pairs_) return;  // without a step: the value is that of the boundary, the gradient is not known
    for (int j = 0; j < kFirst; ++j) first_[j][lane] = T(__builtin_nan(""));
    first_[0][lane] = 1, first_[1][lane] = 0;
  }
  void enter(I lanes, const First<V, D>& at) override {
    const auto keep = [&](int j, V v) { store(first_[j], lanes != 0 ? v : load<V>(first_[j])); };
    keep(0, at.along), keep(1, at.source);
    const V scale = broadcast<V>(T(1 / boundary_.frame[D]));  // the gradient is that of absolute coordinates
    for (int i = 0; i < D; ++i) keep(2 + i, at.outward[i] * scale), keep(2 + D + i, at.toward[i] * scale);
  }
  void mark(int lane, int64_t end, int64_t slot, uint32_t mark) override {
    marks_[slot] = mark;
    if (!pairs_) return;
    for (int j = 0; j < kFirst; ++j) end_firsts_[j * most_ends<V>(iterations) + end] = first_[j][lane];
  }

  void sources(const Events<T, D>& events, const Ends<T, D>& ends, int64_t first) override {
    if (!wants_sources)
      for (int64_t e = first; e < ends.count; ++e) end_sums_[e] = first_sum(e) = 0;
    else if (events.iterations)
      add_sources(events, ends, first);
  }

  void close(const Ends<T, D>& ends) override {
    const int64_t n = ends.count;
    double* const values = end_values_ + most_ends<V>(iterations);
    if (boundary_.data.kind == data::Kind::per_vertex)
      for (int64_t e = 0; e < n; ++e) values[e] = boundary_.on_piece(ends.primitive[e], ends.place, e);
    else
      boundary_.evaluate(ends.x, (n + W - 1) / W * W, values, absolute_, end_values_);
    for (int64_t e = 0; e < n; ++e) {
      const double weight = double(ends.weight[e]), g = weight > 0 ? weight * values[e] : 0;
      put(e, ends.slot[e], g + end_sums_[e]);
    }
  }

 private:
  static constexpr int kFirst = 2 + 2 * D;  // numbers of a First

  double& first_sum(int64_t end) { return end_sums_[most_ends<V>(iterations) + end]; }

  // A walk's value, or a pair's (13): `found` is what it met after the first ball.
  void put(int64_t e, int64_t slot, double found) {
    if (!pairs_) {
      values_[slot] = found;
      return;
    }
    const auto at = [&](int j) { return double(end_firsts_[j * most_ends<V>(iterations) + e]); };
    const double s = first_sum(e);
    values_[slot] = at(0) * found + at(1) * s;
    for (int i = 0; i < D; ++i) values_[(1 + i) * slots_ + slot] = at(2 + i) * found + at(2 + D + i) * s;
  }

  void add_sources(const Events<T, D>& events, const Ends<T, D>& ends, int64_t e) {
    source_.evaluate(events.x, events.iterations * W, static_cast<T*>(event_values_), absolute_, end_values_, events.weight);
    const T area = T(source_.frame[D] * source_.frame[D]);
    V sum = load<V>(sum_), first_sum_now = load<V>(first_sum_);
    for (int64_t k = 0; k < events.iterations; ++k) {
      const int64_t stop = k + 1 < events.iterations ? ends.before[k + 1] : ends.count;
      for (; e < stop; ++e) {  // they ended before this iteration's event
        const int64_t l = ends.lane[e];
        end_sums_[e] = double(sum[l]) + far_[l];
        first_sum(e) = double(first_sum_now[l]) + first_far_[l];
        sum[l] = first_sum_now[l] = 0;
        far_[l] = first_far_[l] = 0;
      }
      if (source_.data.kind == data::Kind::function) take_far(events.weight + k * W, end_values_ + k * W, event_values_ + k * W);
      const V weight = load<V>(events.weight + k * W), f = load<V>(event_values_ + k * W);
      sum = weight > 0 ? sum + weight * area * f : sum;
      if (pairs_) first_sum_now = weight < 0 ? -(weight * area * f) : first_sum_now;
    }
    store(sum_, sum);
    store(first_sum_, first_sum_now);
  }

  // A function's values that T cannot hold are summed in double precision, and are 0 in T. Whether one is depends on itself alone.
  void take_far(const T* weight, const double* exact, T* rounded) {
    if constexpr (sizeof(T) == sizeof(double)) return;
    const double area = source_.frame[D] * source_.frame[D];
    for (int l = 0; l < W; ++l) {
      const double size = exact[l] < 0 ? -exact[l] : exact[l];
      if (!((size > kLargest || size < kLeast) && size > 0 && size <= kFinite)) continue;
      const double found = double(weight[l]) * area * exact[l];
      rounded[l] = 0;
      if (weight[l] > 0) far_[l] += found;
      if (pairs_ && weight[l] < 0) first_far_[l] = -found;
    }
  }

  static constexpr double kLeast = 0x1p-80, kLargest = 0x1p80, kFinite = 0x1.fffffffffffffp1023;
  const bool pairs_;
  const int64_t slots_;
  double* const values_;
  uint32_t* const marks_;
  const data::Field<V, D> boundary_, source_;
  double far_[W], first_far_[W];  // as sum_ and first_sum_
  alignas(64) T sum_[W], first_sum_[W], first_[kFirst][W];
  Scratch<T> event_values_, end_firsts_;
  Scratch<double> end_sums_, end_values_, absolute_;  // absolute_ and the first half of end_values_ serve sources too
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
