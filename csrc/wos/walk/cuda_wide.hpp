// Walks in more than three dimensions on a GPU: README, More dimensions. As Wide makes them on the host.
#pragma once
#include "wos/walk/cuda.hpp"

namespace quatrefoil::wos::walk {
inline namespace QF_ISA {

constexpr int kWideColumns = 5;  // of D numbers, a walk: where it is, the direction, that of a source point, both of the first ball

// The first ball of a walk of a pair, but for its directions.
struct WideFirst {
  double along, source, outward, toward;
};

// A point where a walk meets the data: a source point, or its end, with its mark.
struct WideMet {
  data::Column x;
  double weight;
  bool ends, in_first;
  uint32_t mark;
};

// The walk at hand in a ball or a box of D dimensions, in double precision; vectors are columns of a workspace.
class WideWalker {
 public:
  __device__ WideWalker(const Walk<double>& p, double* room, int64_t threads, int64_t thread)
      : D(p.dimension), x{room + thread, threads}, first_n(x + 3 * D), first_m(x + 4 * D), p_(p), n_(x + D), m_(x + 2 * D) {}
  __device__ bool busy() const { return busy_; }

  __device__ void begin(int64_t side, int64_t point, int64_t walk) {
    const int64_t instance = p_.instance_of(side);
    const double* const frame = p_.frame + instance * (D + 2);
    const double* const at = p_.start + (instance * p_.N + point) * D;
    busy_ = at[0] == at[0];
    for (int64_t j = 0; j < D; ++j) x[j] = at[j];
    epsilon_ = frame[D + 1], screening_ = p_.screening * frame[D] * frame[D];
    step_ = 0, weight_ = 1;
    walk_ = uint32_t(walk), point_ = uint32_t(p_.first_point + point), instance_ = uint32_t(p_.first_instance + instance);
  }
  // A step, as Wide makes it on the host. One place asks the data.
  template <class Sink>
  __device__ void advance(Sink& sink) {
    const double distance = distance_here();
    WideMet met{x, weight_, distance <= epsilon_ || step_ >= p_.max_steps || weight_ == 0, false, step_};
    if (met.ends)
      finish(distance, met);
    else
      move(distance, sink, met);
    if (met.ends || sink.wants_sources) sink.meet(met);
  }

  const int64_t D;
  const data::Column x, first_n, first_m;

 private:
  template <class Sink>
  __device__ void move(double radius, Sink& sink, WideMet& met) {
    if (screening_ > 0) radius = min(radius, kMostScreened / square_root(screening_));
    met.in_first = p_.gradient && step_ == 0;
    const uint32_t walk = met.in_first ? walk_ / 2 : walk_;
    const double sign = met.in_first && walk_ % 2 ? -1 : 1;
    const data::Column n = met.in_first ? first_n : n_;
    if (met.in_first) radius *= kShrunk;
    QF_ROLLED
    for (int of_source = 0; of_source <= int(sink.wants_sources); ++of_source) {
      const uint32_t stream = of_source ? kSourceDirectionStream + step_ : met.in_first ? kFirstStream : step_;
      unit_vector(stream, walk, sign, {of_source ? m_.at : n.at, n.stride});
    }
    const double z2 = radius * radius * screening_, fall = screening_ > 0 ? bessel_series(double(D - 2), 0.25 * z2) : 1;
    const double s = sink.wants_sources ? source_radius(walk) : 0;
    SourceWeight<double> of{1, 0};
    if (sink.wants_sources && (met.in_first || screening_ > 0)) of = source_weight_wide(D, s, z2);
    if (met.in_first) {
      for (int64_t j = 0; j < D; ++j) first_m[j] = sink.wants_sources ? m_[j] : 0;
      sink.enter({1 / fall, of.value, double(D) / (radius * bessel_series(double(D), 0.25 * z2)), of.gradient / radius});
    }
    met.x = m_, met.weight = radius * radius * (met.in_first ? 1 : weight_ * of.value) / double(2 * D);
    for (int64_t j = 0; j < D; ++j) {
      if (sink.wants_sources) m_[j] = x[j] + radius * s * m_[j];
      x[j] += radius * n[j];
    }
    if (screening_ > 0 && !met.in_first) survive(fall);
    ++step_;
  }
  __device__ double distance_here() const {
    double r2 = 0, nearest = 1e300;
    for (int64_t j = 0; j < D; ++j) {
      r2 += x[j] * x[j];
      if (p_.pieces.ends) nearest = min(nearest, p_.pieces.ends[j] - (x[j] < 0 ? -x[j] : x[j]));
    }
    return p_.pieces.ends ? nearest : 1 - square_root(r2);
  }
  __device__ void random(uint32_t counter, uint32_t walk, uint32_t (&words)[4]) const {
    words[0] = counter, words[1] = walk, words[2] = point_, words[3] = instance_;
    philox(words, p_.key0, p_.key1);
  }
  // Normal numbers (23), four of a call, divided by their length.
  __device__ void unit_vector(uint32_t counter, uint32_t walk, double sign, const data::Column& n) const {
    double r2 = 0;
    for (int64_t j = 0; j < D; j += 4, counter += kTrial) {
      uint32_t words[4];
      random(counter, walk, words);
      for (int k = 0; k < 4; k += 2) {
        const double length = square_root(-2 * elementary::log(uniform<double>(words[k])));
        double sine, cosine;
        sincos_turn<double>(words[k + 1], sine, cosine);
        if (j + k < D) n[j + k] = length * cosine, r2 += length * cosine * (length * cosine);
        if (j + k + 1 < D) n[j + k + 1] = length * sine, r2 += length * sine * (length * sine);
      }
    }
    const double scale = sign / square_root(r2);
    for (int64_t j = 0; j < D; ++j) n[j] *= scale;
  }
  // (4c)
  __device__ double source_radius(uint32_t walk) const {
    for (uint32_t counter = kSourceStream + step_;; counter += kTrial) {
      uint32_t words[4];
      random(counter, walk, words);
      for (int k = 0; k < 4; k += 2) {
        const double r = square_root(uniform<double>(words[k]));
        double power = 1;
        for (int64_t i = 2; i < D; ++i) power *= r;
        if (uniform<double>(words[k + 1]) < 1 - power) return r;
      }
    }
  }
  // (9), (14)
  __device__ void survive(double fall) {
    weight_ /= fall;
    if (weight_ >= kLightWeight) return;
    uint32_t words[4];
    random(kRouletteStream + step_, walk_, words);
    weight_ = uniform<double>(words[0]) * kLightWeight < weight_ ? kLightWeight : 0;
  }
  __device__ void finish(double distance, WideMet& met) {
    if (weight_ > 0) project();
    if (weight_ > 0 && !(distance <= epsilon_)) met.mark |= kCutOff;
    busy_ = false;
  }
  __device__ void project() {
    const double* const half = p_.pieces.ends;
    double best = -1e300, r2 = 0;
    int64_t axis = 0;
    for (int64_t j = 0; j < D; ++j) {
      const double excess = half ? (x[j] < 0 ? -x[j] : x[j]) - half[j] : 0;
      if (excess > best) best = excess, axis = j;
      r2 += x[j] * x[j];
    }
    const double scale = r2 > 0 ? 1 / square_root(r2) : 0;
    for (int64_t j = 0; j < D; ++j) x[j] = half ? min(max(x[j], -half[j]), half[j]) : x[j] * scale;
    if (half ? !(best > 0) : !(r2 > 0)) x[axis] = !half ? 1 : x[axis] < 0 ? -half[axis] : half[axis];
  }

  const Walk<double>& p_;
  const data::Column n_, m_;
  double epsilon_ = 0, screening_ = 0, weight_ = 1;
  uint32_t step_ = 0, walk_ = 0, point_ = 0, instance_ = 0;
  bool busy_ = false;
};

// What such a walk is worth, or a pair's.
class WideValues {
 public:
  const bool wants_sources;

  __device__ WideValues(const Walk<double>& p, const WideWalker& walker, const Results& to)
      : wants_sources(p.source.kind != data::Kind::none), p_(p), walker_(walker), to_(to) {}

  __device__ void begin(int64_t instance, int64_t slot) {
    boundary_ = data::WideField(p_.dirichlet, instance, walker_.D);
    if (wants_sources) source_ = data::WideField(p_.source, instance, walker_.D);
    extent_ = p_.frame[p_.instance_of(instance) * (walker_.D + 2) + walker_.D];
    slot_ = slot, sum_ = first_sum_ = 0;
    first_ = {1, 0, __builtin_nan(""), __builtin_nan("")};
  }
  __device__ void none(int64_t slot) {
    to_.marks[slot] = 0;
    for (int c = 0; c < p_.channels(); ++c) to_.values[c * to_.slots + slot] = __builtin_nan("");
  }
  __device__ void enter(const WideFirst& at) { first_ = at; }
  __device__ void meet(const WideMet& met) {
    data::WideField field = source_;
    if (met.ends) field = boundary_;
    const double value = met.ends && !(met.weight > 0) ? 0 : met.weight * field.value(met.x);
    if (met.ends) return end(met.mark, value + sum_);
    (met.in_first ? first_sum_ : sum_) += value * (extent_ * extent_);
  }

 private:
  __device__ void end(uint32_t mark, double found) {
    to_.marks[slot_] = mark;
    to_.values[slot_] = p_.gradient ? first_.along * found + first_.source * first_sum_ : found;
    for (int64_t i = 0; p_.gradient && i < walker_.D; ++i) {
      const double n = walker_.first_n[i], m = walker_.first_m[i];
      to_.values[(1 + i) * to_.slots + slot_] = (first_.outward * n * found + first_.toward * m * first_sum_) / extent_;
    }
  }

  const Walk<double>& p_;
  const WideWalker& walker_;
  const Results& to_;
  data::WideField boundary_, source_;
  WideFirst first_{};
  int64_t slot_ = 0;
  double extent_ = 1, sum_ = 0, first_sum_ = 0;
};

// What such a walk adds to the gradients.
class WideShares {
 public:
  const bool wants_sources;

  __device__ WideShares(const WalkAdjoint<double>& q, const WideWalker& walker, int64_t instance, const data::Column& to_dirichlet,
                        const data::Column& to_source)
      : wants_sources(to_source.at != nullptr),
        q_(q),
        walker_(walker),
        instance_(instance),
        to_boundary_(to_dirichlet),
        to_source_(to_source),
        boundary_(q.forward.dirichlet, instance, walker.D),
        source_(q.forward.source, instance, walker.D),
        extent_(q.forward.frame[q.forward.instance_of(instance) * (walker.D + 2) + walker.D]) {}

  __device__ void begin(int64_t point, int64_t walk) {
    grad_ = grad_of(q_, instance_, point, walk, walks_);
    share_ = grad_[0] / walks_, first_share_ = 0;
  }
  __device__ void enter(const WideFirst& at) {
    double after = grad_[0] * at.along, here = grad_[0] * at.source;
    for (int64_t i = 0; i < walker_.D; ++i) {
      after += grad_[1 + i] * (at.outward * walker_.first_n[i] / extent_);
      here += grad_[1 + i] * (at.toward * walker_.first_m[i] / extent_);
    }
    share_ = after / walks_, first_share_ = here / walks_;
  }
  __device__ void meet(const WideMet& met) {
    if (met.ends && (!to_boundary_.at || !(met.weight > 0))) return;
    data::WideField field = source_;
    data::Column to = to_source_;
    double share = met.weight * extent_ * extent_ * (met.in_first ? first_share_ : share_);
    if (met.ends) field = boundary_, to = to_boundary_, share = met.weight * share_;
    field.add_share(met.x, share, to);
  }

 private:
  const WalkAdjoint<double>& q_;
  const WideWalker& walker_;
  const int64_t instance_;
  const data::Column to_boundary_, to_source_;
  const data::WideField boundary_, source_;
  const double extent_;
  const double* grad_ = nullptr;
  double walks_ = 1, share_ = 0, first_share_ = 0;
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
