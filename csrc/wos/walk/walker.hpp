// W walks side by side, one a lane; every fourth step lanes whose walk has ended take the next one. Where data is needed is stored and
// evaluated later: paths never depend on values.
#pragma once
#include "core/run/interrupt.hpp"
#include "core/run/memory.hpp"
#include "wos/mesh/grid.hpp"
#include "wos/polygon/grid.hpp"
#include "wos/walk/args.hpp"
#include "wos/walk/formula.hpp"

namespace quatrefoil::wos::walk {
inline namespace QF_ISA {

constexpr uint32_t kSourceStream = 1u << 28;  // counter word 0: stream (4 bits), trial (8), block (20)
constexpr uint32_t kTrial = 1u << 20;
constexpr uint32_t kCutOff = 1u << 31, kEscaped = 1u << 30;  // marks of a walk, beside its steps
constexpr double kStepNs = 25;                               // one step of one walk
constexpr double kUsualSteps = 12;                           // a walk, at epsilon 1e-3
constexpr int64_t kIterations = 64;    // steps of a team between two evaluations of data: the events stay in the L2 cache
constexpr int64_t kCallPoints = 4096;  // points a call of a user's function, or more

// Ends that a team may hold before it closes them.
template <class V>
constexpr int64_t most_ends(int64_t iterations) {
  return kCallPoints + (iterations + 1) * kWidth<V>;
}

// Walks [0, walks) of points [0, points) of one instance, `first` being their global indices. Slot k is point k / walks, walk k % walks.
struct Slots {
  int64_t first_point, points, first_walk, walks;
  int64_t point(int64_t slot) const { return first_point + slot / walks; }
  int64_t walk(int64_t slot) const { return first_walk + slot % walks; }
};

// Source points of `iterations` steps of all lanes, with |G| / extent^2 as their weights; 0 where no step was made.
template <class T, int D>
struct Events {
  const T *x[D], *weight;
  int64_t iterations;
};

// Walks that ended, in their order.
template <class T, int D>
struct Ends {
  const T *x[D], *place[D - 1];  // scaled, and weights of the primitive's corners behind the first; with room for a whole vector
  const int64_t *slot, *primitive, *lane;
  const int64_t* before;  // (iterations,): how many had ended before each step
  int64_t count;
};

// Runs walks and hands what they meet to a Sink:
//   begin(lane, slot, point, walk)      a lane takes a walk
//   weigh(V weight)                     what a source point counts in every lane
//   mark(slot, steps and marks)         a walk has ended
//   sources(Events, Ends, first)        every now and then; ends [first, count) are new
//   close(Ends)                         their boundary values, when at least `patience` walks have ended
// and says whether it wants_sources and after how many iterations at most it wants to be handed what there is.
template <class V, class Domain, class Sink>
class Team {
 public:
  static constexpr int D = Domain::D, W = kWidth<V>;
  static constexpr int kSharing = D == 2 ? 4 : 2;  // steps that share one call of Philox: a step takes D - 1 words
  using T = Element<V>;
  using I = Bits<V>;
  using Int = Bits<T>;
  using U = Words<V>;

  Team(const Walk<T>& p, int64_t instance, const Slots& slots, const Domain& domain, Sink& sink)
      : p_(p),
        slots_(slots),
        domain_(domain),
        sink_(sink),
        start_(p.start + instance * p.N * D),
        epsilon_(p.frame[instance * (D + 2) + D + 1]),
        global_instance_(uint32_t(p.first_instance + instance)),
        iterations_(sink.iterations),
        capacity_(most_ends<V>(iterations_)),
        events_(sink.wants_sources ? iterations_ * W * (D + 1) : 0),
        ends_(capacity_ * (2 * D - 1)),
        end_slots_(3 * capacity_),
        ended_before_(iterations_) {}

  void run(int64_t first, int64_t last) {
    next_ = first;
    last_ = last;
    for (int l = 0; l < W; ++l) busy_[l] = 0, step_[l] = 0, point_[l] = walk_[l] = 0, slot_[l] = -1;
    for (int i = 0; i < D; ++i)
      for (int l = 0; l < W; ++l) x_[i][l] = 0;
    InterruptCheck check;
    while (refill()) {
      check(kSharing * W * kStepNs);
      advance();
      if (iteration_ + kSharing > iterations_) collect(false);
    }
    collect(true);
  }

 private:
  // Gives every idle lane the next walk; false when all are done.
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
        point_[l] = uint32_t(point);
        walk_[l] = uint32_t(slots_.walk(next_));
        sink_.begin(l, next_, point, slots_.walk(next_));
        slot_[l] = next_++;
        for (int i = 0; i < D; ++i) x_[i][l] = at[i];
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
    const U walk = load<U>(walk_), point = load<U>(point_), instance = U{} + global_instance_;
    U words[4] = {narrow(step / kSharing), walk, point, instance};
    philox(words, p_.key0, p_.key1);
    const T epsilon = T(epsilon_);
    const I limit = I{} + Int(p_.max_steps);
    for (int s = 0; s < kSharing; ++s) {
      const polygon::Seen<V> seen = domain_.look(x, busy);
      const I ends = busy & ((seen.radius <= epsilon) | (step >= limit));
      ended_before_[iteration_] = ended_;
      if (const unsigned ending = bits(ends)) finish(ending, x, step, seen);
      busy &= ~ends;
      if (sink_.wants_sources) record(x, seen.radius, busy, U(narrow(step)), walk, point, instance);
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

  // A source point (4a), (4b) in the ball of every lane, with |G| / extent^2 as its weight (3).
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
    store(at + D * plane, busy != 0 ? sink_.weigh(radius * radius * T(green_mass(D))) : V{});
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
      if (!(double(radius[l]) <= epsilon_)) mark |= kCutOff;
      if (Domain::escaped(end)) mark |= kEscaped;
      T where[D - 1] = {place[l]};
      domain_.project(end, primitive[l], where);
      const int64_t e = ended_++;
      for (int i = 0; i < D; ++i) ends_[i * capacity_ + e] = end[i];
      for (int i = 0; i < D - 1; ++i) ends_[(D + i) * capacity_ + e] = where[i];
      end_slots_[e] = slot_[l];
      end_slots_[capacity_ + e] = primitive[l];
      end_slots_[2 * capacity_ + e] = l;
      sink_.mark(slot_[l], mark);
    }
  }

  // The events since the last call: sources in the order of their steps; then the walks that ended.
  void collect(bool all) {
    Ends<T, D> ends{};
    for (int i = 0; i < D; ++i) ends.x[i] = ends_ + i * capacity_;
    for (int i = 0; i < D - 1; ++i) ends.place[i] = ends_ + (D + i) * capacity_;
    ends.slot = end_slots_, ends.primitive = end_slots_ + capacity_, ends.lane = end_slots_ + 2 * capacity_;
    ends.before = ended_before_;
    ends.count = ended_;
    Events<T, D> events{};
    const int64_t plane = iterations_ * W;
    for (int i = 0; i < D; ++i) events.x[i] = events_ + i * plane;
    events.weight = events_ + D * plane;
    events.iterations = iteration_;
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
  Sink& sink_;
  const T* const start_;
  const double epsilon_;
  const uint32_t global_instance_;
  const int64_t iterations_, capacity_;
  alignas(64) T x_[D][W];
  alignas(64) Int busy_[W], step_[W];
  alignas(64) uint32_t point_[W], walk_[W];
  int64_t slot_[W];
  int64_t next_ = 0, last_ = 0, iteration_ = 0, ended_ = 0, summed_ = 0;
  Scratch<T> events_, ends_;
  Scratch<int64_t> end_slots_, ended_before_;
};

// Runs slots [first, last) of one instance on its boundary, the polygon's or mesh's grid or the unit ball, into a Sink that is made of
// `made_of`.
template <template <class, int> class Sink, class T, class... Args>
void run_team(const Walk<T>& p, int64_t instance, const Slots& slots, int64_t first, int64_t last, const Args&... made_of) {
  using V = Lanes<T>;
  const auto run = [&](const auto& domain) {
    using Domain = typename std::remove_const<typename std::remove_reference<decltype(domain)>::type>::type;
    Sink<V, Domain::D> sink(made_of...);
    Team<V, Domain, Sink<V, Domain::D>>(p, instance, slots, domain, sink).run(first, last);
  };
  if (p.grids)
    run(polygon::Polygon<V>(p.grids[instance]));
  else if (p.mesh)
    run(mesh::Mesh<V>(*p.mesh));
  else if (p.dimension == 2)
    run(polygon::UnitBall<V, 2>());
  else
    run(polygon::UnitBall<V, 3>());
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
