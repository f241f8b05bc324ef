// Walks in more than three dimensions: one after the other, in double precision. README, More dimensions.
#pragma once
#include "core/run/interrupt.hpp"
#include "wos/data/wide.hpp"
#include "wos/solid/locate.hpp"
#include "wos/walk/walker.hpp"

namespace quatrefoil::wos::walk {
inline namespace QF_ISA {

constexpr double kWideNs = 30;                // a step, for each dimension
constexpr int64_t kWideNumbers = 1 << 18;     // of the ends of walks that are in memory together
constexpr int64_t kWideEvents = kCallPoints;  // source points that are evaluated together

// Which random words: the counter but for its first word.
struct WideIds {
  uint32_t walk, point, instance;
};

// Some walks of one instance, and what they met.
template <class T>
class Wide {
 public:
  Wide(const Walk<T>& p, int64_t instance, const Slots& slots, bool sources)
      : D(p.dimension),
        most(max<int64_t>(64, min(kCallPoints, kWideNumbers / D))),
        end(most * D),
        left(most),
        first(p.gradient ? most * (2 + 2 * D) : 0),
        slot(most),
        event(sources ? kWideEvents * D : 0),
        event_weight(sources ? kWideEvents : 0),
        owner(sources ? kWideEvents : 0),
        p_(p),
        slots_(slots),
        start_(p.start + instance * p.N * D),
        epsilon_(p.frame[instance * (D + 2) + D + 1]),
        screening_(p.screening * p.frame[instance * (D + 2) + D] * p.frame[instance * (D + 2) + D]),
        instance_(uint32_t(p.first_instance + instance)),
        sources_(sources),
        direction_(2 * D) {}

  // f(mark) for the walks of slots [begin, last), as many as there is room for, when each has ended; events() when there is no room for
  // more source points, and at last. Returns where to go on.
  template <class Events, class Marked>
  int64_t run(int64_t begin, int64_t last, Events&& events, Marked&& marked) {
    count = event_count = 0;
    int64_t at = begin;
    while (at < last && count < most) {
      const int64_t point = slots_.point(at);
      if (!(start_[point * D] == start_[point * D])) {
        at = (at / slots_.walks + 1) * slots_.walks;
        continue;
      }
      slot[count] = at;
      const uint32_t mark = walk(point, slots_.walk(at), events);
      marked(mark);
      ++count, ++at;
    }
    if (event_count) events();
    event_count = 0;
    return at;
  }

  const int64_t D, most;
  int64_t count = 0, event_count = 0;
  Scratch<double> end, left, first;  // (most, D); the weight at the end; what the first ball of a walk of a pair counts, as in First
  Scratch<int64_t> slot;
  Scratch<double> event, event_weight;  // (kWideEvents, D); negative in the first ball of a pair
  Scratch<int64_t> owner;               // the walk whose event it is

 private:
  template <class Events>
  uint32_t walk(int64_t point, int64_t number, Events&& events) {
    double *const x = end + count * D, *const n = direction_;
    for (int64_t j = 0; j < D; ++j) x[j] = double(start_[point * D + j]);
    for (int64_t j = 0; p_.gradient && j < 2 + 2 * D; ++j) first[count * (2 + 2 * D) + j] = j == 0 ? 1 : j == 1 ? 0 : __builtin_nan("");
    const WideIds id{uint32_t(number), uint32_t(p_.first_point + point), instance_};
    double weight = 1;
    uint32_t step = 0;
    for (;; ++step) {
      double radius = distance(x);
      check_(kWideNs * double(D));
      if (radius <= epsilon_ || step >= p_.max_steps || weight == 0) {
        left[count] = weight;
        const uint32_t mark = step | (weight > 0 && !(radius <= epsilon_) ? kCutOff : 0);
        if (weight > 0) {
          solid::nearest(p_.solid, D, x, n);
          for (int64_t j = 0; j < D; ++j) x[j] = n[j];
        }
        return mark;
      }
      if (screening_ > 0) radius = min(radius, kMostScreened / square_root(screening_));
      const bool enters = p_.gradient && step == 0;
      const WideIds own{enters ? id.walk / 2 : id.walk, id.point, id.instance};
      const double sign = enters && id.walk % 2 ? -1 : 1;
      if (enters) radius *= kShrunk;
      unit_vector(enters ? kFirstStream : step, own, sign, n);
      if (sources_) source(x, radius, weight, step, own, sign, enters, events);
      if (enters) enter(radius, n);
      for (int64_t j = 0; j < D; ++j) x[j] += radius * n[j];
      if (screening_ > 0 && !enters) weight = survive(weight, radius, step, id);
    }
  }
  double distance(const double* x) const {
    double r2 = 0, nearest = 1e300;
    for (int64_t j = 0; !p_.solid.half && j < D; ++j) r2 += x[j] * x[j];
    for (int64_t j = 0; p_.solid.half && j < D; ++j) nearest = min(nearest, p_.solid.half[j] - (x[j] < 0 ? -x[j] : x[j]));
    return p_.solid.half ? nearest : 1 - square_root(r2);
  }
  void words_of(uint32_t counter, const WideIds& id, uint32_t (&words)[4]) const {
    words[0] = counter, words[1] = id.walk, words[2] = id.point, words[3] = id.instance;
    philox(words, p_.key0, p_.key1);
  }
  // Normal numbers (23), four of a call, divided by their length.
  void unit_vector(uint32_t counter, const WideIds& id, double sign, double* n) const {
    double r2 = 0;
    for (int64_t j = 0; j < D; j += 4, counter += kTrial) {
      uint32_t words[4];
      words_of(counter, id, words);
      double normal[4];
      for (int k = 0; k < 4; k += 2) {
        const double length = square_root(-2 * elementary::log(uniform<double>(words[k])));
        sincos_turn<double>(words[k + 1], normal[k + 1], normal[k]);
        normal[k] *= length, normal[k + 1] *= length;
      }
      for (int64_t i = j; i < min(D, j + 4); ++i) n[i] = normal[i - j], r2 += n[i] * n[i];
    }
    const double scale = sign / square_root(r2);
    for (int64_t j = 0; j < D; ++j) n[j] *= scale;
  }
  // (4c)
  double source_radius(uint32_t step, const WideIds& id) const {
    for (uint32_t counter = kSourceStream + step;; counter += kTrial) {
      uint32_t words[4];
      words_of(counter, id, words);
      for (int k = 0; k < 4; k += 2) {
        const double r = square_root(uniform<double>(words[k]));
        double power = 1;
        for (int64_t i = 2; i < D; ++i) power *= r;
        if (uniform<double>(words[k + 1]) < 1 - power) return r;
      }
    }
  }
  // (3), (10), (13) A source point.
  template <class Events>
  void source(const double* x, double radius, double weight, uint32_t step, const WideIds& id, double sign, bool enters, Events&& events) {
    const double s = source_radius(step, id);
    double* const m = direction_ + D;
    unit_vector(kSourceDirectionStream + step, id, sign, m);
    SourceWeight<double> of{1, 0};
    if (enters || screening_ > 0) of = source_weight_wide(D, s, radius * radius * screening_);
    for (int64_t j = 0; j < D; ++j) event[event_count * D + j] = x[j] + radius * s * m[j];
    event_weight[event_count] = radius * radius * (enters ? -1 : weight * of.value) / double(2 * D);
    owner[event_count] = count;
    if (enters) {
      double* const at = first + count * (2 + 2 * D);
      at[1] = of.value;
      for (int64_t j = 0; j < D; ++j) at[2 + D + j] = of.gradient / radius * m[j];
    }
    if (++event_count == kWideEvents) {
      events();
      event_count = 0;
    }
  }
  void enter(double radius, const double* n) {
    double* const at = first + count * (2 + 2 * D);
    const double q = 0.25 * radius * radius * screening_;
    at[0] = 1 / bessel_series(double(D - 2), q);
    const double outward = double(D) / (radius * bessel_series(double(D), q));
    for (int64_t j = 0; j < D; ++j) at[2 + j] = outward * n[j];
    for (int64_t j = 0; !sources_ && j < D; ++j) at[2 + D + j] = 0;
    if (!sources_) at[1] = 1;
  }
  // (9), (14)
  double survive(double weight, double radius, uint32_t step, const WideIds& id) const {
    const double remains = weight / bessel_series(double(D - 2), 0.25 * radius * radius * screening_);
    if (remains >= kLightWeight) return remains;
    uint32_t words[4];
    words_of(kRouletteStream + step, id, words);
    return uniform<double>(words[0]) * kLightWeight < remains ? kLightWeight : 0;
  }

  const Walk<T>& p_;
  const Slots slots_;
  const T* const start_;
  const double epsilon_, screening_;
  const uint32_t instance_;
  const bool sources_;
  Scratch<double> direction_;  // of a step and of its source point
  InterruptCheck check_;
};

// The data of a right-hand side of an instance.
template <class T>
data::WideField wide_field(const Walk<T>& p, const data::Data& data, int64_t instance, int64_t side) {
  return {data, p.dimension, instance * p.nrhs + side, p.first_data, p.frame + instance * (p.dimension + 2)};
}

// What walks [first, last) of an instance are worth: values (channels, slots_of_all, nrhs).
template <class T>
void wide_values(const Walk<T>& p, int64_t instance, const Slots& slots, int64_t first, int64_t last, double* values, int64_t slots_of_all,
                 uint32_t* marks) {
  const int64_t D = p.dimension, nrhs = p.nrhs;
  const bool sources = p.source.kind != data::Kind::none;
  const double extent = p.frame[instance * (D + 2) + D];
  Wide<T> walks(p, instance, slots, sources);
  const int64_t room = max(walks.most, kWideEvents), most = walks.most;
  Scratch<double> found(room), absolute(room * D), all_later(nrhs * most), all_here(nrhs * most);
  const auto events = [&] {
    for (int64_t side = 0; side < nrhs; ++side) {
      double *const later = all_later + side * most, *const here = all_here + side * most;
      wide_field(p, p.source, instance, side).evaluate(walks.event, walks.event_count, found, absolute);
      for (int64_t k = 0; k < walks.event_count; ++k) {
        const double weight = walks.event_weight[k] * extent * extent;
        if (weight < 0) here[walks.owner[k]] = -weight * found[k];
        if (weight > 0) later[walks.owner[k]] += weight * found[k];
      }
    }
  };
  while (first < last) {
    for (int64_t k = 0; k < nrhs * most; ++k) all_later[k] = all_here[k] = 0;
    first = walks.run(first, last, events, [&](uint32_t mark) { marks[walks.slot[walks.count]] = mark; });
    for (int64_t side = 0; side < nrhs; ++side) {
      const double *const later = all_later + side * most, *const here = all_here + side * most;
      wide_field(p, p.dirichlet, instance, side).evaluate(walks.end, walks.count, found, absolute);
      for (int64_t k = 0; k < walks.count; ++k) {
        const double sum = (walks.left[k] > 0 ? walks.left[k] * found[k] : 0) + later[k];
        double* const to = values + walks.slot[k] * nrhs + side;
        if (!p.gradient) {
          *to = sum;
          continue;
        }
        const double* const at = walks.first + k * (2 + 2 * D);
        *to = at[0] * sum + at[1] * here[k];
        for (int64_t i = 0; i < D; ++i) to[(1 + i) * slots_of_all * nrhs] = (at[2 + i] * sum + at[2 + D + i] * here[k]) / extent;
      }
    }
  }
}

// Adds their part of the gradients (7), (8) to ddirichlet(side) and dsource(side), which may be null.
template <class T, class Dirichlet, class Source>
void wide_shares(const WalkAdjoint<T>& q, int64_t instance, const Slots& slots, int64_t first, int64_t last, Dirichlet&& ddirichlet,
                 Source&& dsource) {
  const Walk<T>& p = q.forward;
  const int64_t D = p.dimension, channels = p.channels(), begin = p.first_walk / p.group(), end = begin + p.walks / p.group();
  const double extent = p.frame[instance * (D + 2) + D];
  Wide<T> walks(p, instance, slots, dsource(0) != nullptr);
  Scratch<double> share(max(walks.most, kWideEvents));
  // What a number of a right-hand side counts that walk k meets, in its first ball or after it.
  const auto share_of = [&](int64_t side, int64_t k, bool in_first) {
    const double* const grad = q.grad + (instance * p.nrhs + side) * p.N * p.nodes() * channels;
    const int64_t sample = slots.walk(walks.slot[k]) / p.group();
    int64_t at = begin, node = 0, size = node_size(at, end);
    for (; at + size <= sample; size = node_size(at, end)) at += size, ++node;
    const double* const g = grad + (slots.point(walks.slot[k]) * p.nodes() + node) * channels;
    double sum = g[0];
    if (p.gradient) {
      const double* const of = walks.first + k * (2 + 2 * D) + (in_first ? 1 : 0);
      sum = g[0] * of[0];
      for (int64_t i = 0; i < D; ++i)
        if (g[1 + i] != 0) sum += g[1 + i] * walks.first[k * (2 + 2 * D) + 2 + (in_first ? D : 0) + i] / extent;
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
      for (int64_t k = 0; k < walks.count; ++k) share[k] = walks.left[k] > 0 ? walks.left[k] * share_of(side, k, false) : 0;
      wide_field(p, p.dirichlet, instance, side).adjoint(walks.end, share, walks.count, ddirichlet(side));
    }
  }
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
