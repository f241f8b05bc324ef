// W walks side by side. A lane takes the next walk at every fourth step; what happens to data is kept for later: paths never depend on it.
#pragma once
#include "core/run/parallel.hpp"
#include "wos/data/field.hpp"
#include "wos/polygon/grid.hpp"
#include "wos/walk/args.hpp"
#include "wos/walk/formula.hpp"

namespace quatrefoil::wos::walk {
inline namespace QF_ISA {

constexpr uint32_t kSourceStream = 1u << 28;  // counter word 0: stream (4 bits), trial (8), block (20)
constexpr uint32_t kTrial = 1u << 20;
constexpr uint32_t kCutOff = 1u << 31, kEscaped = 1u << 30;  // marks in Walk::steps
constexpr int64_t kIterations = 64;    // steps of a team between two evaluations of data: the events stay in the L2 cache
constexpr int64_t kCallPoints = 4096;  // points a call of a user's function, or more

// Runs walks [first, last) of one instance; walk k of them is point k / walks, walk k % walks.
template <class V, class Domain>
class Team {
 public:
  static constexpr int D = Domain::D, W = kWidth<V>;
  static constexpr int kSharing = D == 2 ? 4 : 2;  // steps that share one call of Philox: a step takes D - 1 words
  using T = Element<V>;
  using I = Bits<V>;
  using Int = Bits<T>;
  using U = Words<V>;

  Team(const Walk<T>& p, const Domain& domain, int64_t instance)
      : p_(p),
        domain_(domain),
        instance_(instance),
        boundary_{p.dirichlet, instance, p.centre + instance * D, p.extent[instance]},
        source_{p.source, instance, p.centre + instance * D, p.extent[instance]},
        iterations_(p.source.kind == data::Kind::callback ? max<int64_t>(kIterations, kCallPoints / W) : kIterations),
        capacity_(kCallPoints + (iterations_ + 1) * W),
        events_(iterations_ * W * (D + 1)),
        event_values_(iterations_ * W),
        ends_(capacity_ * (D + 1)),
        end_sums_(capacity_),
        end_values_(2 * capacity_),
        absolute_(capacity_ * D),
        end_walks_(2 * capacity_),
        end_lanes_(capacity_),
        ended_before_(iterations_) {}

  void run(int64_t first, int64_t last) {
    next_ = first;
    last_ = last;
    for (int l = 0; l < W; ++l) busy_[l] = 0, sum_[l] = 0, step_[l] = 0, point_[l] = walk_[l] = 0, slot_[l] = -1;
    for (int i = 0; i < D; ++i)
      for (int l = 0; l < W; ++l) x_[i][l] = 0;
    while (refill()) {
      advance();
      if (iteration_ + kSharing > iterations_) collect(false);
    }
    collect(true);
  }

 private:
  const double* extent() const { return p_.extent + instance_; }

  // Gives every idle lane the next walk; false when all are done.
  bool refill() {
    bool any = false;
    for (int l = 0; l < W; ++l) {
      while (!busy_[l] && next_ < last_) {
        const int64_t point = next_ / p_.walks, row = instance_ * p_.N + point;
        if (!p_.live[row]) {
          next_ = (point + 1) * p_.walks;
          continue;
        }
        busy_[l] = -1;
        step_[l] = 0;
        point_[l] = uint32_t(point);
        walk_[l] = uint32_t(p_.first_walk + next_ % p_.walks);
        slot_[l] = next_++;
        for (int i = 0; i < D; ++i) x_[i][l] = p_.start[row * D + i];
      }
      any = any || busy_[l];
    }
    return any;
  }

  // kSharing steps of every busy lane, (1) and (2). The state is in registers between load and store.
  void advance() {
    V x[D];
    for (int i = 0; i < D; ++i) x[i] = load<V>(x_[i]);
    I busy = load<I>(busy_), step = load<I>(step_);
    const U walk = load<U>(walk_), point = load<U>(point_), instance = U{} + uint32_t(p_.first_instance + instance_);
    U words[4] = {narrow(step / kSharing), walk, point, instance};
    philox(words, p_.key0, p_.key1);
    const T epsilon = T(p_.epsilon[instance_]);
    const I limit = I{} + Int(p_.max_steps);
    for (int s = 0; s < kSharing; ++s) {
      const polygon::Seen<V> seen = domain_.look(x, busy);
      const I ends = busy & ((seen.radius <= epsilon) | (step >= limit));
      ended_before_[iteration_] = ended_;
      if (const unsigned ending = bits(ends)) finish(ending, x, step, seen);
      busy &= ~ends;
      if (p_.source.kind != data::Kind::none) record(x, seen.radius, busy, U(narrow(step)), walk, point, instance);
      V n[D];
      direction<V>(words[(D - 1) * s], words[(D - 1) * s + D - 2], n);
      for (int i = 0; i < D; ++i) x[i] = busy != 0 ? x[i] + seen.radius * n[i] : x[i];
      step -= busy;  // a mask is -1
      ++iteration_;
    }
    for (int i = 0; i < D; ++i) store(x_[i], x[i]);
    store(busy_, busy);
    store(step_, step);
  }
  QF_HD static U narrow(I i) { return __builtin_convertvector(i, U); }

  // A source point (4a), (4b) in the ball of every lane, with |G| / extent^2 as its weight (3); 0 where no step is made.
  QF_HD void record(const V (&x)[D], V radius, I busy, U step, U walk, U point, U instance) {
    U a[4] = {step | kSourceStream, walk, point, instance};
    philox(a, p_.key0, p_.key1);
    V n[D], r;
    if constexpr (D == 2) {
      r = radius * source_radius_disc(uniform<V>(a[0]), uniform<V>(a[1]));
      direction<V>(a[2], a[2], n);
    } else {
      U b[4] = {step | (kSourceStream + kTrial), walk, point, instance};
      philox(b, p_.key0, p_.key1);
      r = radius * source_radius_ball(uniform<V>(a[0]), uniform<V>(a[1]), uniform<V>(a[2]));
      direction<V>(b[0], b[1], n);
    }
    T* const at = events_ + iteration_ * W;
    const int64_t plane = iterations_ * W;
    for (int i = 0; i < D; ++i) store(at + i * plane, x[i] + r * n[i]);
    store(at + D * plane, busy != 0 ? radius * radius * T(green_mass(D)) : V{});
  }

  void finish(unsigned ending, const V (&x)[D], I step, const polygon::Seen<V>& seen) {
    alignas(64) T at[D][W], place[W], radius[W];
    alignas(64) Int primitive[W], steps[W];
    for (int i = 0; i < D; ++i) store(at[i], x[i]);
    store(place, seen.place);
    store(radius, seen.radius);
    store(primitive, seen.primitive);
    store(steps, step);
    for (; ending; ending &= ending - 1) {
      const int l = __builtin_ctz(ending);
      T end[D];
      for (int i = 0; i < D; ++i) end[i] = at[i][l];
      uint32_t mark = uint32_t(steps[l]);
      if (!(double(radius[l]) <= p_.epsilon[instance_])) mark |= kCutOff;
      if (Domain::escaped(end)) mark |= kEscaped;
      domain_.project(end, primitive[l], place[l]);
      const int64_t e = ended_++;
      for (int i = 0; i < D; ++i) ends_[i * capacity_ + e] = end[i];
      ends_[D * capacity_ + e] = place[l];
      end_walks_[e] = instance_ * p_.N * p_.walks + slot_[l];
      end_walks_[capacity_ + e] = primitive[l];
      end_lanes_[e] = l;
      p_.steps[end_walks_[e]] = mark;
    }
  }

  // The events since the last call: sources into the walks' sums, in the order of their steps; then the walks that ended.
  void collect(bool all) {
    if (p_.source.kind != data::Kind::none && iteration_) add_sources();
    for (int64_t e = summed_; e < ended_; ++e)
      if (p_.source.kind == data::Kind::none) end_sums_[e] = 0;
    summed_ = ended_;
    iteration_ = 0;
    if (ended_ && (all || ended_ >= (p_.dirichlet.kind == data::Kind::callback ? kCallPoints : 1))) close();
  }
  void add_sources() {
    const int64_t plane = iterations_ * W;
    const T* x[D];
    for (int i = 0; i < D; ++i) x[i] = events_ + i * plane;
    source_.evaluate(x, iteration_ * W, static_cast<T*>(event_values_), absolute_, end_values_);
    const T area = T(*extent() * *extent());
    V sum = load<V>(sum_);
    int64_t e = summed_;
    for (int64_t k = 0; k < iteration_; ++k) {
      const int64_t stop = k + 1 < iteration_ ? ended_before_[k + 1] : ended_;
      for (; e < stop; ++e) {  // they ended before this iteration's event
        end_sums_[e] = sum[end_lanes_[e]];
        sum[end_lanes_[e]] = 0;
      }
      const V weight = load<V>(events_ + D * plane + k * W), f = load<V>(event_values_ + k * W);
      sum = weight > 0 ? sum + weight * area * f : sum;
    }
    store(sum_, sum);
  }
  void close() {
    const int64_t padded = (ended_ + W - 1) / W * W;
    for (int i = 0; i < D; ++i)
      for (int64_t e = ended_; e < padded; ++e) ends_[i * capacity_ + e] = ends_[i * capacity_];
    double* const values = end_values_ + capacity_;
    const T* x[D];
    for (int i = 0; i < D; ++i) x[i] = ends_ + i * capacity_;
    const T* const place = ends_ + D * capacity_;
    const int64_t* const primitive = end_walks_ + capacity_;
    if (p_.dirichlet.kind == data::Kind::per_vertex)
      for (int64_t e = 0; e < ended_; ++e) values[e] = boundary_.on_segment(p_.first_segment[instance_] + primitive[e], double(place[e]));
    else
      boundary_.evaluate(x, padded, values, absolute_, end_values_);
    for (int64_t e = 0; e < ended_; ++e) p_.values[end_walks_[e]] = values[e] + double(end_sums_[e]);
    if (p_.ends) trace(x, place, primitive);
    ended_ = summed_ = 0;
  }
  void trace(const T* const (&x)[D], const T* place, const int64_t* primitive) {
    for (int64_t e = 0; e < ended_; ++e) {
      double* const to = p_.ends + end_walks_[e] * (D + 1);
      for (int i = 0; i < D; ++i) to[i] = boundary_.centre[i] + *extent() * double(x[i][e]);
      to[D] = double(place[e]);
      if (p_.primitives) p_.primitives[end_walks_[e]] = primitive[e];
    }
  }

  const Walk<T>& p_;
  const Domain& domain_;
  const int64_t instance_;
  const data::Field<V, D> boundary_, source_;
  const int64_t iterations_, capacity_;
  alignas(64) T x_[D][W], sum_[W];
  alignas(64) Int busy_[W], step_[W];
  alignas(64) uint32_t point_[W], walk_[W];
  int64_t slot_[W];
  int64_t next_ = 0, last_ = 0, iteration_ = 0, ended_ = 0, summed_ = 0;
  Scratch<T> events_, event_values_, ends_, end_sums_;
  Scratch<double> end_values_, absolute_;  // absolute_ and the first half of end_values_ serve sources too
  Scratch<int64_t> end_walks_, end_lanes_, ended_before_;
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
