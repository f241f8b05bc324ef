// What the walks of one instance are worth: sources along the way, boundary values at their ends.
#pragma once
#include "wos/data/field.hpp"
#include "wos/walk/walker.hpp"

namespace quatrefoil::wos::walk {
inline namespace QF_ISA {

// A sink of a Team. `values` and `marks` have a number a slot.
template <class V, int D>
class Values {
 public:
  using T = Element<V>;
  static constexpr int W = kWidth<V>;
  const bool wants_sources;
  const int64_t patience, iterations;

  Values(const Walk<T>& p, int64_t instance, double* values, uint32_t* marks)
      : wants_sources(p.source.kind != data::Kind::none),
        patience(p.dirichlet.kind == data::Kind::function ? kCallPoints : 1),
        iterations(p.source.kind == data::Kind::function ? max<int64_t>(kIterations, kCallPoints / W) : kIterations),
        values_(values),
        marks_(marks),
        boundary_{p.dirichlet, instance, p.first_instance, p.frame + instance * (D + 2)},
        source_{p.source, instance, p.first_instance, p.frame + instance * (D + 2)},
        event_values_(wants_sources ? iterations * W : 0),
        end_sums_(most_ends<V>(iterations)),
        end_values_(2 * most_ends<V>(iterations)),
        absolute_(most_ends<V>(iterations) * D) {
    for (int l = 0; l < W; ++l) sum_[l] = 0;
  }

  void begin(int, int64_t, int64_t, int64_t) {}
  QF_HD V weigh(V weight) const { return weight; }
  void mark(int64_t slot, uint32_t mark) { marks_[slot] = mark; }

  void sources(const Events<T, D>& events, const Ends<T, D>& ends, int64_t first) {
    if (!wants_sources)
      for (int64_t e = first; e < ends.count; ++e) end_sums_[e] = 0;
    else if (events.iterations)
      add_sources(events, ends, first);
  }

  void close(const Ends<T, D>& ends) {
    const int64_t n = ends.count;
    double* const values = end_values_ + most_ends<V>(iterations);
    if (boundary_.data.kind == data::Kind::per_vertex)
      for (int64_t e = 0; e < n; ++e) values[e] = boundary_.on_piece(ends.primitive[e], ends.place, e);
    else
      boundary_.evaluate(ends.x, (n + W - 1) / W * W, values, absolute_, end_values_);
    for (int64_t e = 0; e < n; ++e) values_[ends.slot[e]] = values[e] + double(end_sums_[e]);
  }

 private:
  void add_sources(const Events<T, D>& events, const Ends<T, D>& ends, int64_t e) {
    source_.evaluate(events.x, events.iterations * W, static_cast<T*>(event_values_), absolute_, end_values_);
    const T area = T(source_.frame[D] * source_.frame[D]);
    V sum = load<V>(sum_);
    for (int64_t k = 0; k < events.iterations; ++k) {
      const int64_t stop = k + 1 < events.iterations ? ends.before[k + 1] : ends.count;
      for (; e < stop; ++e) {  // they ended before this iteration's event
        end_sums_[e] = sum[ends.lane[e]];
        sum[ends.lane[e]] = 0;
      }
      const V weight = load<V>(events.weight + k * W), f = load<V>(event_values_ + k * W);
      sum = weight > 0 ? sum + weight * area * f : sum;
    }
    store(sum_, sum);
  }

  double* const values_;
  uint32_t* const marks_;
  const data::Field<V, D> boundary_, source_;
  alignas(64) T sum_[W];
  Scratch<T> event_values_, end_sums_;
  Scratch<double> end_values_, absolute_;  // absolute_ and the first half of end_values_ serve sources too
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
