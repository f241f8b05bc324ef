// Walks in more than three dimensions, one at a time in double precision. README, More dimensions.
#pragma once
#include "core/run/interrupt.hpp"
#include "wos/data/wide.hpp"
#include "wos/walk/formula_wide.hpp"
#include "wos/walk/walker.hpp"

namespace quatrefoil::wos::walk {
inline namespace QF_ISA {

constexpr double kWideNs = 30;                // per step and dimension
constexpr int64_t kWideNumbers = 1 << 18;     // coordinates of walk ends in memory at a time
constexpr int64_t kWideEvents = kCallPoints;  // source points evaluated together

// A batch of walks of one instance, with their ends and source points.
template <class T>
class Wide {
 public:
  Wide(const Walk<T>& p, int64_t instance, const Slots& slots, bool sources)
      : D(p.dimension),
        max_walks(max<int64_t>(64, min(kCallPoints, kWideNumbers / D))),
        end(max_walks * D),
        end_weight(max_walks),
        first(p.gradient ? max_walks * (2 + 2 * D) : 0),
        slot(max_walks),
        event(sources ? kWideEvents * D : 0),
        event_weight(sources ? kWideEvents : 0),
        owner(sources ? kWideEvents : 0),
        p_(p),
        slots_(slots),
        instance_(instance),
        sources_(sources),
        workspace_(kWideColumns * D),
        walker_(D, workspace_, p.solid.half, p.max_steps, p.gradient) {}

  // Runs slots [begin, last) until `max_walks` walks have ended. Calls marked(mark) after each walk, and events() when the buffer of source
  // points is full and at the end. Returns the next slot.
  template <class Events, class Marked>
  int64_t run(int64_t begin, int64_t last, Events&& events, Marked&& marked) {
    count = event_count = 0;
    Meets<Events> sink{*this, events, sources_};
    int64_t at = begin;
    while (at < last && count < max_walks) {
      const int64_t point = slots_.point(at);
      const Random<uint32_t> random{uint32_t(slots_.walk(at)), uint32_t(p_.first_point + point), uint32_t(p_.first_instance + instance_),
                                    p_.key0, p_.key1};
      walker_.begin(p_.start + (instance_ * p_.N + point) * D, p_.frame + instance_ * (D + 2), p_.screening, random);
      if (!walker_.busy()) {
        at = (at / slots_.walks + 1) * slots_.walks;
        continue;
      }
      slot[count] = at;
      for (int64_t j = 0; p_.gradient && j < 2 + 2 * D; ++j) first_of(count)[j] = j == 0 ? 1 : j == 1 ? 0 : __builtin_nan("");
      for (; walker_.busy(); check_(kWideNs * double(D))) walker_.advance(sink);
      marked(mark_);
      ++count, ++at;
    }
    if (event_count) events();
    event_count = 0;
    return at;
  }
  double* first_of(int64_t walk) const { return first + walk * (2 + 2 * D); }

  const int64_t D, max_walks;
  int64_t count = 0, event_count = 0;
  Scratch<double> end, end_weight;  // (max_walks, D), (max_walks,)
  Scratch<double> first;            // first ball of a walk of a pair: along, source, outward, toward
  Scratch<int64_t> slot;
  Scratch<double> event, event_weight;  // (kWideEvents, D), (kWideEvents,): weights are negative in the first ball of a pair
  Scratch<int64_t> owner;               // the walk that the event belongs to

 private:
  template <class Events>
  struct Meets {
    Wide& to;
    Events& events;
    const bool wants_sources;

    void enter(const WideFirst& at) {
      double* const first = to.first_of(to.count);
      first[0] = at.along, first[1] = at.source;
      for (int64_t j = 0; j < to.D; ++j)
        first[2 + j] = at.outward * to.walker_.first_n[j], first[2 + to.D + j] = at.toward * to.walker_.first_m[j];
    }
    void meet(const WideMet<double*>& met) {
      double* const x = met.ends ? to.end + to.count * to.D : to.event + to.event_count * to.D;
      for (int64_t j = 0; j < to.D; ++j) x[j] = met.x[j];
      if (met.ends) {
        to.end_weight[to.count] = met.weight, to.mark_ = met.mark;
        return;
      }
      to.event_weight[to.event_count] = met.in_first ? -met.weight : met.weight;
      to.owner[to.event_count] = to.count;
      if (++to.event_count < kWideEvents) return;
      events();
      to.event_count = 0;
    }
  };

  const Walk<T>& p_;
  const Slots slots_;
  const int64_t instance_;
  const bool sources_;
  uint32_t mark_ = 0;  // mark of the last walk
  Scratch<double> workspace_;
  WideWalker<double*> walker_;
  InterruptCheck check_;
};

template <class T>
data::WideField wide_field(const Walk<T>& p, const data::Data& data, int64_t instance, int64_t side) {
  return {data, p.dimension, instance * p.nrhs + side, p.first_data, p.frame + instance * (p.dimension + 2)};
}

// Writes the values (channels, slots_of_all, nrhs) of walks [first, last) of an instance.
template <class T>
void wide_values(const Walk<T>& p, int64_t instance, const Slots& slots, int64_t first, int64_t last, double* values, int64_t slots_of_all,
                 uint32_t* marks) {
  const int64_t D = p.dimension, nrhs = p.nrhs;
  const bool sources = p.source.kind != data::Kind::none;
  const double extent = p.frame[instance * (D + 2) + D];
  Wide<T> walks(p, instance, slots, sources);
  const int64_t capacity = max(walks.max_walks, kWideEvents), max_walks = walks.max_walks;
  Scratch<double> met_values(capacity), absolute(capacity * D), all_later(nrhs * max_walks), all_here(nrhs * max_walks);
  const auto events = [&] {
    for (int64_t side = 0; side < nrhs; ++side) {
      double *const later = all_later + side * max_walks, *const here = all_here + side * max_walks;
      wide_field(p, p.source, instance, side).evaluate(walks.event, walks.event_count, met_values, absolute);
      for (int64_t k = 0; k < walks.event_count; ++k) {
        const double weight = walks.event_weight[k] * extent * extent;
        if (weight < 0) here[walks.owner[k]] = -weight * met_values[k];
        if (weight > 0) later[walks.owner[k]] += weight * met_values[k];
      }
    }
  };
  while (first < last) {
    for (int64_t k = 0; k < nrhs * max_walks; ++k) all_later[k] = all_here[k] = 0;
    first = walks.run(first, last, events, [&](uint32_t mark) { marks[walks.slot[walks.count]] = mark; });
    for (int64_t side = 0; side < nrhs; ++side) {
      const double *const later = all_later + side * max_walks, *const here = all_here + side * max_walks;
      wide_field(p, p.dirichlet, instance, side).evaluate(walks.end, walks.count, met_values, absolute);
      for (int64_t k = 0; k < walks.count; ++k) {
        const double sum = (walks.end_weight[k] > 0 ? walks.end_weight[k] * met_values[k] : 0) + later[k];
        double* const to = values + walks.slot[k] * nrhs + side;
        if (!p.gradient) {
          *to = sum;
          continue;
        }
        const double* const at = walks.first_of(k);
        *to = at[0] * sum + at[1] * here[k];
        for (int64_t i = 0; i < D; ++i) to[(1 + i) * slots_of_all * nrhs] = (at[2 + i] * sum + at[2 + D + i] * here[k]) / extent;
      }
    }
  }
}

// Adds the gradients (7), (8) of these walks to ddirichlet(side) and dsource(side), which may be null.
template <class T, class Dirichlet, class Source>
void wide_shares(const WalkAdjoint<T>& q, int64_t instance, const Slots& slots, int64_t first, int64_t last, Dirichlet&& ddirichlet,
                 Source&& dsource) {
  const Walk<T>& p = q.forward;
  const int64_t D = p.dimension, channels = p.channels(), begin = p.first_walk / p.group(), end = begin + p.walks / p.group();
  const double extent = p.frame[instance * (D + 2) + D];
  Wide<T> walks(p, instance, slots, dsource(0) != nullptr);
  Scratch<double> share(max(walks.max_walks, kWideEvents));
  // Walk k's share of the value's gradient, in its first ball or after it.
  const auto share_of = [&](int64_t side, int64_t k, bool in_first) {
    const double* const grad = q.grad + (instance * p.nrhs + side) * p.N * p.nodes() * channels;
    const int64_t sample = slots.walk(walks.slot[k]) / p.group();
    const auto [node, size] = node_of(sample, begin, end);
    const double* const g = grad + (slots.point(walks.slot[k]) * p.nodes() + node) * channels;
    double sum = g[0];
    if (p.gradient) {
      const double* const first = walks.first_of(k);
      sum = g[0] * first[in_first];
      for (int64_t i = 0; i < D; ++i)
        if (g[1 + i] != 0) sum += g[1 + i] * first[2 + (in_first ? D : 0) + i] / extent;
    }
    return sum / double(size * p.group());
  };
  const auto events = [&] {
    for (int64_t side = 0; side < p.nrhs; ++side) {
      for (int64_t k = 0; k < walks.event_count; ++k) {
        const double weight = walks.event_weight[k] * extent * extent;
        share[k] = (weight < 0 ? -weight : weight) * share_of(side, walks.owner[k], weight < 0);
      }
      wide_field(p, p.source, instance, side).adjoint(walks.event, share, walks.event_count, dsource(side));
    }
  };
  while (first < last) {
    first = walks.run(first, last, events, [](uint32_t) {});
    for (int64_t side = 0; ddirichlet(0) && side < p.nrhs; ++side) {
      for (int64_t k = 0; k < walks.count; ++k) share[k] = walks.end_weight[k] > 0 ? walks.end_weight[k] * share_of(side, k, false) : 0;
      wide_field(p, p.dirichlet, instance, side).adjoint(walks.end, share, walks.count, ddirichlet(side));
    }
  }
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
