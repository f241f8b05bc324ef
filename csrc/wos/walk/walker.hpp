// A team of W walks, one per lane. After every fourth step (every second in space), lanes whose walk has ended start the next one. The
// points where walks evaluate data are stored and evaluated later, because paths never depend on values.
#pragma once
#include "core/run/interrupt.hpp"
#include "core/run/memory.hpp"
#include "wos/mesh/grid.hpp"
#include "wos/polygon/grid.hpp"
#include "wos/solid/outside.hpp"
#include "wos/walk/args.hpp"
#include "wos/walk/formula.hpp"
#include "wos/walk/sobol.hpp"

namespace quatrefoil::wos::walk {
inline namespace QF_ISA {

constexpr double kStepNs = 25;         // per step of a walk
constexpr double kUsualSteps = 12;     // per walk, at epsilon 1e-3
constexpr double kMinHalfDisc = 16;    // smallest radius of a half disc in units of epsilon, README (24)
constexpr int64_t kIterations = 64;    // steps of a team between two evaluations of data, so that events stay in the L2 cache
constexpr int64_t kCallPoints = 4096;  // minimum points per call to a user's function

// Walks [first_walk, first_walk + walks) of points [first_point, first_point + points) of one instance. Walk indices are global, point
// indices are relative to the call. Slot k is walk k % walks of point k / walks, both counted from the first.
struct Slots {
  int64_t first_point, points, first_walk, walks;
  int64_t point(int64_t slot) const { return first_point + slot / walks; }
  int64_t walk(int64_t slot) const { return first_walk + slot % walks; }
};

// Source points of `iterations` steps of all lanes, and the results of the sink's `weigh`, with rows `row` elements apart. The weight is 0
// if no step was made.
template <class T, int D>
struct Events {
  const T *x[D], *weight;
  int64_t iterations, row;
};

// Walks that ended, in the order of their ends.
template <class T, int D>
struct Ends {
  const T *x[D], *corner_weights[D - 1];  // x is scaled and padded to whole vectors; corner_weights: of corners after the first
  const T* weight;                        // 0 if screening has ended the walk, or it went to infinity
  const int64_t *slot, *primitive, *lane;
  const int64_t* before;  // (iterations,): walks that had ended before each step
  int64_t count;
};

// Receives the ends and source points of a Team's walks.
template <class V, int D>
class Sink {
 public:
  using T = Element<V>;
  using I = Bits<V>;
  static constexpr int W = kWidth<V>;
  const bool wants_sources;
  const int64_t patience, iterations;  // ends before `close` is called; maximum steps of a team before `sources` is called
  const int64_t rows;                  // weights per source point: one, or one for each right-hand side
  const int64_t max_ends;              // maximum ends that a team stores before it calls `close`

  virtual void begin(int lane, int64_t slot, int64_t point, int64_t walk) = 0;             // called when a walk starts in a lane
  virtual void enter(I lanes, const First<V, D>& at) = 0;                                  // receives the first balls of pairs
  virtual void mark(int lane, int64_t end, int64_t slot, uint32_t mark) = 0;               // called when a walk ends; mark: steps and flags
  virtual void sources(const Events<T, D>& events, const Ends<T, D>&, int64_t first) = 0;  // called regularly; ends from `first` on are new
  virtual void close(const Ends<T, D>& ends) = 0;  // evaluates boundary values; called when at least `patience` walks have ended
  // The weight of a source point in every lane. In lanes `first` the point is in the first ball of a pair.
  QF_HD V weigh(V weight, I first, int64_t row) const {
    return weight * (first != 0 ? load<V>(first_share(row)) : load<V>(share(row))) * area_;
  }

 protected:
  Sink(bool sources, int64_t patience, int64_t iterations, int64_t weights, T area)
      : wants_sources(sources),
        patience(patience),
        iterations(iterations),
        rows(weights),
        max_ends(patience + (iterations + 1) * W),
        area_(area),
        shares_(2 * weights * W) {}
  ~Sink() = default;
  T* share(int64_t row) const { return shares_ + 2 * row * W; }
  T* first_share(int64_t row) const { return shares_ + (2 * row + 1) * W; }

 private:
  const T area_;
  const Scratch<T> shares_;
};

// Runs walks and passes their ends and source points to a Sink.
template <class V, class Domain>
class Team {
 public:
  static constexpr int D = Domain::D, W = kWidth<V>;
  static constexpr int kSharing = D == 2 ? 4 : 2;  // steps that share one call to Philox: a step uses D - 1 words
  using T = Element<V>;
  using I = Bits<V>;
  using Int = Bits<T>;
  using U = Words<V>;

  Team(const Walk<T>& p, int64_t instance, const Slots& slots, const Domain& domain, Sink<V, D>& sink)
      : p_(p),
        slots_(slots),
        domain_(domain),
        sink_(sink),
        start_(p.start + instance * p.N * D),
        epsilon_(p.frame[instance * (D + 2) + D + 1]),
        screening_(T(p.screening * p.frame[instance * (D + 2) + D] * p.frame[instance * (D + 2) + D])),
        global_instance_(uint32_t(p.first_instance + instance)),
        half_disc_(T(kMinHalfDisc * epsilon_)),
        half_discs_(p.source.kind == data::Kind::none && screening_ == 0 && pays(domain)),
        iterations_(sink.iterations),
        capacity_(sink.max_ends),
        events_(sink.wants_sources ? iterations_ * W * (D + sink.rows) : 0),
        ends_(capacity_ * 2 * D),
        end_slots_(3 * capacity_),
        ended_before_(iterations_) {}

  void run(int64_t first, int64_t last) {
    next_ = first;
    last_ = last;
    for (int l = 0; l < W; ++l) busy_[l] = 0, step_[l] = 0, weight_[l] = 1, point_[l] = walk_[l] = 0, slot_[l] = -1;
    for (int i = 0; i < D; ++i)
      for (int l = 0; l < W; ++l) x_[i][l] = 0;
    InterruptCheck check;
    const bool plain = !p_.gradient && screening_ == 0;
    while (refill()) {
      check(kSharing * W * kStepNs);
      if constexpr (kHalfDiscs)
        if (half_discs_) {
          plain ? advance<true, true>() : advance<false, true>();
          if (iteration_ + kSharing > iterations_) collect(false);
          continue;
        }
      plain ? advance<true, false>() : advance<false, false>();
      if (iteration_ + kSharing > iterations_) collect(false);
    }
    collect(true);
  }

 private:
  static constexpr bool kHalfDiscs = std::is_same<Domain, polygon::Polygon<V>>::value;
  // A half disc replaces all steps smaller than itself. It costs more than a step, so these must be at least two thirds of all steps.
  bool pays(const Domain& domain) const {
    if constexpr (kHalfDiscs) return double(domain.clear()) * domain.clear() * domain.clear() >= epsilon_;
    return false;
  }

  // Starts the next walk in every idle lane. Returns false when all walks are done.
  bool refill() {
    bool any = false;
    for (int l = 0; l < W; ++l) {
      while (!busy_[l] && next_ < last_) {
        const int64_t point = slots_.point(next_);
        const T* const at = start_ + point * D;
        if (!(at[0] == at[0])) {
          next_ = (next_ / slots_.walks + 1) * slots_.walks;
          continue;
        }
        busy_[l] = -1;
        step_[l] = 0;
        weight_[l] = 1;
        point_[l] = uint32_t(p_.first_point + point);
        walk_[l] = uint32_t(slots_.walk(next_));
        sink_.begin(l, next_, point, slots_.walk(next_));
        slot_[l] = next_++;
        for (int i = 0; i < D; ++i) x_[i][l] = at[i];
        if (p_.sobol) {
          const Random<uint32_t> random{walk_[l], point_[l], global_instance_, p_.key0, p_.key1};
          sobol_.put(random, p_.gradient, sink_.wants_sources, first_words_[0] + l, W);
        }
      }
      any = any || busy_[l];
    }
    return any;
  }

  // (1), (2) Makes kSharing steps in every busy lane. The state is in registers between load and store. A walk starts only at the first of
  // these steps. plain: neither screening nor pairs. half_discs: uses half discs near long segments (24).
  template <bool plain, bool half_discs>
  void advance() {
    V x[D];
    for (int i = 0; i < D; ++i) x[i] = load<V>(x_[i]);
    I busy = load<I>(busy_), step = load<I>(step_);
    V weight = load<V>(weight_);
    const Random<U> random{load<U>(walk_), load<U>(point_), U{} + global_instance_, p_.key0, p_.key1};
    U words[4];
    random.words(narrow(step / kSharing), words);
    if (p_.sobol)
      for (int i = 0; i < 4; ++i) words[i] = narrow(step == 0) != 0 ? load<U>(first_words_[i]) : words[i];
    const T epsilon = T(epsilon_);
    const I limit = I{} + Int(p_.max_steps);
    for (int s = 0; s < kSharing; ++s) {
      polygon::Seen<V> seen = domain_.look(x, busy);
      I landed{}, moved{};
      V n[D];
      direction<V>(words[(D - 1) * s], words[(D - 1) * s + D - 2], n);
      if constexpr (half_discs) {
        const I later = !plain && p_.gradient ? step > 0 : (step > 0) | (seen.radius > epsilon);
        landed = domain_.leave_half_discs(x, busy & later & (step < limit), n, half_disc_, seen, moved);
        step -= landed;
      }
      I ends = busy & ~(moved & ~landed) & ((seen.radius <= epsilon) | (step >= limit));
      if (solid::kOutside<Domain> || (!plain && screening_ > 0)) ends |= busy & (weight == 0);
      ended_before_[iteration_] = ended_;
      if (const unsigned ending = bits(ends)) finish(ending, x, step, weight, seen);
      busy &= ~ends;
      moved &= busy;
      if (!plain && screening_ > 0) seen.radius = lower(seen.radius, broadcast<V>(T(kMaxScreening) / square_root(screening_)));
      I first{}, beyond{};
      if (!plain && s == 0 && p_.gradient) first = busy & (step == 0);
      if constexpr (solid::kOutside<Domain>)
        if (plain || !(screening_ > 0)) beyond = busy & ~first & domain_.far(x);
      if (!plain && s == 0 && p_.gradient && bits(first))
        enter(first, x, busy & ~beyond, step, weight, random, seen.radius, n);
      else if (sink_.wants_sources)
        record<plain>(x, seen.radius, busy & ~beyond, step, weight, random, s == 0);
      V next[D];
      for (int i = 0; i < D; ++i) next[i] = x[i] + seen.radius * n[i];
      if constexpr (solid::kOutside<Domain>)
        if (bits(beyond)) come_back(x, beyond, step, random, next, weight);
      for (int i = 0; i < D; ++i) x[i] = (busy & ~moved) != 0 ? next[i] : x[i];
      if (!plain && screening_ > 0) weight = survive(weight, busy & ~first, seen.radius, step, random);
      step -= busy;  // a true lane of a mask is -1
      ++iteration_;
    }
    for (int i = 0; i < D; ++i) store(x_[i], x[i]);
    store(busy_, busy);
    store(step_, step);
    store(weight_, weight);
  }
  QF_HD static U narrow(I i) { return __builtin_convertvector(i, U); }

  // A source point in the ball of every lane, with the weight |G| / extent^2 (3), (10).
  template <bool plain>
  QF_HD void record(const V (&x)[D], V radius, I busy, I step, V weight, const Random<U>& random, bool may_be_first) {
    V n[D], logarithm{};
    U words[source_words(D)];
    draw_source(random, step, may_be_first, words);
    const V s = source_point<!plain>(words, n, logarithm);
    V area = radius * radius * T(green_mass(D));
    if (!plain && screening_ > 0) area = area * weight * source_weight<D>(s, logarithm, V(radius * radius * screening_)).value;
    put(x, radius * s, n, busy, area, I{});
  }
  QF_HD void draw_source(const Random<U>& random, I step, bool may_be_first, U (&words)[source_words(D)]) const {
    draw_source_words<D, V>(random, narrow(step), words);
    if (!may_be_first || !p_.sobol) return;
    for (int i = 4; i < kSobolWords; ++i) {
      U& word = words[sobol_source_word(D, i - 4)];
      word = narrow(step == 0) != 0 ? load<U>(first_words_[i]) : word;
    }
  }
  QF_HD void put(const V (&x)[D], V r, const V (&n)[D], I busy, V weight, I first) {
    T* const at = events_ + iteration_ * W;
    const int64_t plane = iterations_ * W;
    for (int i = 0; i < D; ++i) store(at + i * plane, x[i] + r * n[i]);
    for (int64_t row = 0; row < sink_.rows; ++row) store(at + (D + row) * plane, busy != 0 ? sink_.weigh(weight, first, row) : V{});
  }

  // (13) Makes the first step of lanes `first`: a smaller ball; direction and source point are opposite in the two walks of a pair.
  void enter(I first, const V (&x)[D], I busy, I step, V weight, const Random<U>& random, V& radius, V (&n)[D]) {
    const U mask = narrow(first);
    using S = Lanes<std::int32_t, W>;
    const V sign = T(1) - T(2) * real<V>((S)(random.walk & mask & 1));
    Random<U> pair = random;
    pair.walk = (random.walk & ~mask) | ((random.walk >> 1) & mask);
    V own[D], m[D] = {}, s{}, logarithm{};
    for (int i = 0; i < D; ++i) own[i] = n[i];
    if (!p_.sobol) {
      U words[4];
      pair.words(U{} + kFirstStream, words);
      direction<V>(words[0], words[1], own);
    }
    for (int i = 0; i < D; ++i) n[i] = first != 0 ? sign * own[i] : n[i];
    radius = first != 0 ? radius * T(kShrunk) : radius;
    const V z2 = radius * radius * screening_;
    SourceWeight<V> source{broadcast<V>(T(1)), V{}};
    if (sink_.wants_sources) {
      U of_source[source_words(D)];
      draw_source(pair, step, true, of_source);
      s = source_point<true>(of_source, m, logarithm);
      source = source_weight<D>(s, logarithm, z2);
      for (int i = 0; i < D; ++i) m[i] = sign * m[i];
    }
    sink_.enter(first, first_ball(radius, z2, source, n, m));
    if (!sink_.wants_sources) return;
    const V area = radius * radius * T(green_mass(D));
    put(x, radius * s, m, busy, first != 0 ? area : area * weight * source.value, first);
  }

  // (9), (14) The weight of a walk after a ball; 0 ends the walk.
  QF_HD V survive(V weight, I moved, V radius, I step, const Random<U>& random) const {
    V left = weight / bessel_series<D - 2>(radius * radius * (screening_ * T(0.25)));
    left = moved != 0 ? left : weight;
    const I light = moved & (left < T(kLightWeight));
    if (!bits(light)) return left;
    U words[4];
    random.words(narrow(step) | kRouletteStream, words);
    const V raised = uniform<V>(words[0]) * T(kLightWeight) < left ? broadcast<V>(T(kLightWeight)) : V{};
    return light != 0 ? raised : left;
  }

  // Moves a distant walk outside the boundary back to the sphere; in space it may instead end with weight 0: solid (5), (7).
  QF_HD void come_back(const V (&x)[D], I beyond, I step, const Random<U>& random, V (&next)[D], V& weight) const {
    U words[4];
    random.words(narrow(step) | kRouletteStream, words);
    V sine, cosine, y[D];
    sincos_turn<V>(words[2], sine, cosine);
    const V returned = domain_.come_back(x, uniform<V>(words[0]), uniform<V>(words[1]), cosine, sine, y);
    for (int i = 0; i < D; ++i) next[i] = beyond != 0 ? y[i] : next[i];
    weight = beyond != 0 ? returned : weight;
  }

  void finish(unsigned ending, const V (&x)[D], I step, V weight, const polygon::Seen<V>& seen) {
    alignas(64) T at[D][W], t[W], radius[W], weights[W];
    alignas(64) Int primitive[W], steps[W];
    for (int i = 0; i < D; ++i) store(at[i], x[i]);
    store(t, seen.t);
    store(radius, seen.radius);
    store(weights, weight);
    store(primitive, seen.primitive);
    store(steps, step);
    for (; ending; ending &= ending - 1) {
      const int l = __builtin_ctz(ending);
      T end[D];
      for (int i = 0; i < D; ++i) end[i] = at[i][l];
      uint32_t mark = uint32_t(steps[l]);
      T where[D - 1] = {t[l]};
      if (weights[l] > 0) {
        if (!(radius[l] <= T(epsilon_))) mark |= kCutOff;
        if (domain_.escaped(end)) mark |= kEscaped;
        domain_.project(end, primitive[l], where);
      } else {
        primitive[l] = 0;
      }
      const int64_t e = ended_++;
      for (int i = 0; i < D; ++i) ends_[i * capacity_ + e] = end[i];
      for (int i = 0; i < D - 1; ++i) ends_[(D + i) * capacity_ + e] = weights[l] > 0 ? where[i] : T(0);
      ends_[(2 * D - 1) * capacity_ + e] = weights[l];
      end_slots_[e] = slot_[l];
      end_slots_[capacity_ + e] = primitive[l];
      end_slots_[2 * capacity_ + e] = l;
      sink_.mark(l, e, slot_[l], mark);
    }
  }

  // Reports the events since the last call: sources in the order of their steps, then the walks that ended. Never inlined: in two copies
  // the compiler may fuse different products and sums, and a walk's bits would depend on which call handles its events.
  [[gnu::noinline]] void collect(bool all) {
    Ends<T, D> ends{};
    for (int i = 0; i < D; ++i) ends.x[i] = ends_ + i * capacity_;
    for (int i = 0; i < D - 1; ++i) ends.corner_weights[i] = ends_ + (D + i) * capacity_;
    ends.weight = ends_ + (2 * D - 1) * capacity_;
    ends.slot = end_slots_, ends.primitive = end_slots_ + capacity_, ends.lane = end_slots_ + 2 * capacity_;
    ends.before = ended_before_;
    ends.count = ended_;
    Events<T, D> events{};
    const int64_t plane = iterations_ * W;
    for (int i = 0; i < D; ++i) events.x[i] = events_ + i * plane;
    events.weight = events_ + D * plane;
    events.iterations = iteration_, events.row = plane;
    sink_.sources(events, ends, summed_);
    summed_ = ended_;
    iteration_ = 0;
    if (!ended_ || !(all || ended_ >= sink_.patience)) return;
    const int64_t padded = (ended_ + W - 1) / W * W;
    for (int i = 0; i < D; ++i)
      for (int64_t e = ended_; e < padded; ++e) ends_[i * capacity_ + e] = ends_[i * capacity_];
    sink_.close(ends);
    ended_ = summed_ = 0;
  }

  const Walk<T>& p_;
  const Slots slots_;
  const Domain& domain_;
  Sink<V, D>& sink_;
  const T* const start_;
  const double epsilon_;
  const T screening_;  // scaled
  const uint32_t global_instance_;
  const T half_disc_;  // smallest radius
  const bool half_discs_;
  const int64_t iterations_, capacity_;
  alignas(64) T x_[D][W], weight_[W];
  alignas(64) Int busy_[W], step_[W];
  alignas(64) uint32_t point_[W], walk_[W], first_words_[kSobolWords][W] = {};
  SobolWords<D> sobol_;
  int64_t slot_[W];
  int64_t next_ = 0, last_ = 0, iteration_ = 0, ended_ = 0, summed_ = 0;
  Scratch<T> events_, ends_;
  Scratch<int64_t> end_slots_, ended_before_;
};

// Calls f with the boundary of an instance, for walks inside a polygon, a mesh or a solid.
template <class V, class T, class F>
void with_inside(const Walk<T>& p, int64_t instance, const F& f) {
  if (p.grids)
    f(polygon::Polygon<V>(p.grids[instance]));
  else if (p.mesh)
    f(mesh::Mesh<V>(*p.mesh));
  else if (p.solid.ball() && p.dimension == 2)
    f(solid::UnitBall<V, 2>());
  else if (p.solid.ball())
    f(solid::UnitBall<V, 3>());
  else if (p.dimension == 2)
    f(solid::Inside<V, 2>(p.solid));
  else
    f(solid::Inside<V, 3>(p.solid));
}

// Calls f with the boundary of an instance, for walks inside or outside.
template <class V, class T, class F>
void with_domain(const Walk<T>& p, int64_t instance, const F& f) {
  if (!p.outside) return with_inside<V>(p, instance, f);
  const double* const frame = p.frame + instance * (p.dimension + 2);
  const double epsilon = frame[p.dimension + 1], reach = p.reach / frame[p.dimension];
  if (p.dimension == 2)
    f(solid::Outside<V, 2>(p.solid, p.grids ? &p.grids[instance] : nullptr, epsilon, reach));
  else
    f(solid::Outside<V, 3>(p.solid, p.mesh, epsilon, reach));
}

// Runs slots [first, last) of one instance with a sink constructed from `arguments`.
template <template <class, int> class Own, class T, class... Args>
void run_team(const Walk<T>& p, int64_t instance, const Slots& slots, int64_t first, int64_t last, const Args&... arguments) {
  using V = Lanes<T>;
  with_domain<V>(p, instance, [&](const auto& domain) {
    using Domain = typename std::remove_const<typename std::remove_reference<decltype(domain)>::type>::type;
    Own<V, Domain::D> sink(arguments...);
    Team<V, Domain>(p, instance, slots, domain, sink).run(first, last);
  });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
