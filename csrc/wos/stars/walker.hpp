// W walks on stars side by side, one a lane: what the absorbing part of the boundary and the random numbers say is asked for all lanes
// together, the reflecting part lane by lane. Where data is needed is stored and evaluated later: paths never depend on values.
#pragma once
#include "core/run/interrupt.hpp"
#include "core/run/memory.hpp"
#include "wos/stars/walls.hpp"
#include "wos/walk/walker.hpp"

namespace quatrefoil::wos::stars {
inline namespace QF_ISA {

constexpr uint32_t kBoundaryStream = 2u << 28;
constexpr double kStepNs = 150;
constexpr double kUsualSteps = 20;
constexpr double kRobinRadius = 0.02;    // of the box: the largest ball that reaches a wall with mu, README (4)
constexpr double kRobinScreened = 0.25;  // and R sqrt(screening) of it
constexpr double kLargestRadius = 2;     // holds the whole box from anywhere in it

// Points where data is to be evaluated, of one kind of data.
template <class T>
class List {
 public:
  explicit List(int64_t capacity) : capacity_(capacity), numbers_(4 * capacity), integers_(2 * capacity) {}
  T* x(int i) const { return numbers_ + i * capacity_; }
  T* weight() const { return numbers_ + 2 * capacity_; }
  T* place() const { return numbers_ + 3 * capacity_; }
  int64_t* slot() const { return integers_; }
  int64_t* primitive() const { return integers_ + capacity_; }
  void add(const T (&at)[2], T w, int64_t from, int64_t on = 0, T where = 0) {
    x(0)[count] = at[0], x(1)[count] = at[1], weight()[count] = w, place()[count] = where;
    slot()[count] = from, primitive()[count] = on;
    ++count;
  }
  int64_t count = 0;

 private:
  const int64_t capacity_;
  const Scratch<T> numbers_;
  const Scratch<int64_t> integers_;
};

// Runs walks and hands what they meet to a Sink:
//   begin(slot) -> double      a walk begins; what its weights are multiplied by
//   wants(met)                 whether that data counts
//   take(met, list)            points where it does; their number is a multiple of the lanes, those behind `count` are copies of the first
//   mark(slot, mark)           a walk has ended; steps and marks
template <class V, class Sink>
class Team {
 public:
  static constexpr int W = kWidth<V>;
  using T = Element<V>;
  using I = Bits<V>;
  using Int = Bits<T>;
  using U = walk::Words<V>;

  Team(const Stars<T>& p, int64_t instance, const walk::Slots& slots, Sink& sink)
      : p_(p.walk),
        slots_(slots),
        domain_(p.walk.grids[instance]),
        walls_(p.reflecting[instance], p.walk.frame[4 * instance + 2]),
        sink_(sink),
        start_(p.walk.start + instance * p.walk.N * 2),
        extent_(p.walk.frame[4 * instance + 2]),
        epsilon_(T(p.walk.frame[4 * instance + 3])),
        screening_(T(p.walk.screening * extent_ * extent_)),
        global_instance_(uint32_t(p.walk.first_instance + instance)),
        endless_(p.endless),
        lists_{List<T>(kCapacity), List<T>(kCapacity), List<T>(kCapacity), List<T>(kCapacity)} {
    for (int met = 0; met < kMet; ++met) wanted_[met] = sink.wants(met);
    flux_ = wanted_[on_neumann] || wanted_[on_robin];
  }

  void run(int64_t first, int64_t last) {
    next_ = first;
    last_ = last;
    for (int l = 0; l < W; ++l) busy_[l] = 0, step_[l] = 0, point_[l] = walk_[l] = 0, x_[0][l] = x_[1][l] = 0;
    InterruptCheck check;
    while (refill()) {
      check(W * kStepNs);
      advance();
      for (int met = 0; met < kMet; ++met)
        if (lists_[met].count >= walk::kCallPoints) flush(met);
    }
    for (int met = 0; met < kMet; ++met) flush(met);
  }

 private:
  static constexpr int64_t kCapacity = walk::kCallPoints + 2 * W;

  // Gives every idle lane the next walk; false when all are done.
  bool refill() {
    bool any = false;
    for (int l = 0; l < W; ++l) {
      while (!busy_[l] && next_ < last_) {
        const int64_t point = slots_.point(next_);
        const T* const at = start_ + point * 2;
        if (!(at[0] == at[0])) {
          next_ = (next_ / slots_.walks + 1) * slots_.walks;
          continue;
        }
        busy_[l] = -1, step_[l] = 0, weight_[l] = 1;
        point_[l] = uint32_t(point), walk_[l] = uint32_t(slots_.walk(next_));
        share_[l] = sink_.begin(next_);
        slot_[l] = next_++;
        x_[0][l] = at[0], x_[1][l] = at[1];
        T near = 4 * Walls<T>::kSlack;
        const T here[2] = {at[0], at[1]};
        wall_[l] = walls_.closest(here, near, false);
      }
      any = any || busy_[l];
    }
    return any;
  }

  // A step of every busy lane. Block `step` of stream 0 holds its direction, the two words of its source's radius, and whether a light
  // walk goes on; of stream 2 the point of the walls (6).
  void advance() {
    const V x[2] = {load<V>(x_[0]), load<V>(x_[1])};
    const U step = __builtin_convertvector(load<I>(step_), U);
    U words[4] = {step, load<U>(walk_), load<U>(point_), U{} + global_instance_};
    philox(words, p_.key0, p_.key1);
    const polygon::Seen<V> seen = domain_.look(x, load<I>(busy_));
    V n[2];
    walk::direction<V>(words[0], words[0], n);
    for (int i = 0; i < 2; ++i) store(n_[i], n[i]);
    store(source_, walk::source_radius_disc(walk::uniform<V>(words[1]), walk::uniform<V>(words[2])));
    store(last_word_, words[3]);
    if (flux_) {
      U more[4] = {step | kBoundaryStream, load<U>(walk_), load<U>(point_), U{} + global_instance_};
      philox(more, p_.key0, p_.key1);
      for (int i = 0; i < 4; ++i) store(draw_[i], more[i]);
    }
    store(radius_, seen.radius);
    store(place_, seen.place);
    store(primitive_, seen.primitive);
    for (int l = 0; l < W; ++l)
      if (busy_[l]) lane(l);
  }

  // README (1) to (7).
  void lane(int l) {
    T x[2] = {x_[0][l], x_[1][l]}, n[2] = {n_[0][l], n_[1][l]};
    const bool out = domain_.escaped(x);
    if (radius_[l] <= epsilon_ || step_[l] >= Int(p_.max_steps) || weight_[l] == 0 || out) return finish(l, x, out);
    const int64_t own = wall_[l];
    T mass = 0;
    const T R = radius(l, x, own, mass);
    const double held = own >= 0 ? 2 : 1;
    weight_[l] /= 1 + held * double(mass);
    if (own >= 0) {
      T inward[2];
      walls_.inward(own, inward);
      if (n[0] * inward[0] + n[1] * inward[1] < 0) n[0] = -n[0], n[1] = -n[1];
    }
    T t = R;
    const int64_t met = walls_.hit(x, n, t, own);
    if (wanted_[in_domain] && source_[l] * R < t) add_source(l, x, n, R);
    if (flux_) add_flux(l, x, R, own, held);
    const T z2 = R * R * screening_;
    if (met >= 0) {
      walls_.point(met, walls_.place_of(met, x, n, t), x);
      const T s = higher(t / R, T(1e-10));
      if (screening_ > 0) weight_[l] *= double(hit_weight(s, T(-elementary::log(s)), z2));
    } else {
      for (int i = 0; i < 2; ++i) x[i] += R * n[i];
      if (screening_ > 0) weight_[l] /= double(walk::bessel_series<0>(z2 * T(0.25)));
    }
    wall_[l] = met;
    x_[0][l] = x[0], x_[1][l] = x[1];
    if (weight_[l] < walk::kLightWeight)
      weight_[l] = (double(last_word_[l]) + 0.5) * 0x1p-32 * walk::kLightWeight < weight_[l] ? walk::kLightWeight : 0;
    ++step_[l];
  }

  // The radius of the star around x, and the mass (4) of walls with mu in it.
  T radius(int l, const T (&x)[2], int64_t own, T& mass) const {
    T R = lower(radius_[l], T(kLargestRadius));
    R = higher(epsilon_, walls_.silhouette(x, R));
    if (screening_ > 0) R = lower(R, T(walk::kMostScreened) / square_root(screening_));
    if (!walls_.absorbs()) return R;
    T distance = R;
    if (walls_.closest(x, distance, true) < 0) return R;
    T reach = T(kRobinRadius);
    if (screening_ > 0) reach = lower(reach, T(kRobinScreened) / square_root(screening_));
    R = lower(R, higher(distance, reach));
    if (distance < R) mass = walls_.robin_mass(x, R, own);
    if (screening_ > 0) mass *= walk::source_weight_disc(T(0.25), T(1.3862943611198906), R * R * screening_).value;
    return R;
  }

  void add_source(int l, const T (&x)[2], const T (&n)[2], T R) {
    const T s = source_[l], y[2] = {x[0] + R * s * n[0], x[1] + R * s * n[1]};
    double w = weight_[l] * share_[l] * double(R) * double(R) * walk::green_mass(2) * extent_ * extent_;
    if (screening_ > 0) w *= double(walk::source_weight_disc(s, T(-elementary::log(s)), R * R * screening_).value);
    lists_[in_domain].add(y, T(w), slot_[l]);
  }

  // (6)
  void add_flux(int l, const T (&x)[2], T R, int64_t own, double held) {
    double u[4];
    for (int i = 0; i < 4; ++i) u[i] = (double(draw_[i][l]) + 0.5) * 0x1p-32;
    const Drawn<T> z = walls_.draw(x, R, u);
    if (z.wall < 0) return;
    const int met = walls_.which(z.wall) ? on_robin : on_neumann;
    const T d[2] = {z.x[0] - x[0], z.x[1] - x[1]}, r = square_root(d[0] * d[0] + d[1] * d[1]);
    if (!wanted_[met] || !(r > 0) || !(r < R)) return;
    if (z.wall != own && r > 4 * Walls<T>::kSlack) {
      const T n[2] = {d[0] / r, d[1] / r};
      T limit = r - 4 * Walls<T>::kSlack;
      if (walls_.hit(x, n, limit, own, r) >= 0) return;
    }
    const T s = r / R, L = -elementary::log(s);
    double w = weight_[l] * share_[l] * held * double(L) * 0.15915494309189533577 * extent_ / z.density;
    if (screening_ > 0) w *= double(walk::source_weight_disc(s, L, R * R * screening_).value);
    w /= 1 + double(z.height) * double(walls_.mu(z.wall));
    lists_[met].add(z.x, T(w), slot_[l], z.wall, z.place);
  }

  void finish(int l, T (&x)[2], bool out) {
    uint32_t mark = uint32_t(step_[l]);
    if (weight_[l] > 0) {
      if (!(radius_[l] <= epsilon_)) mark |= walk::kCutOff;
      if (out) mark |= walk::kEscaped;
      T place[1] = {place_[l]};
      domain_.project(x, primitive_[l], place);
      const double w = weight_[l] * share_[l];
      if (!endless_ && wanted_[on_boundary]) lists_[on_boundary].add(x, T(w), slot_[l], primitive_[l], place[0]);
    }
    sink_.mark(slot_[l], mark);
    busy_[l] = 0;
  }

  void flush(int met) {
    List<T>& list = lists_[met];
    if (!list.count) return;
    for (int64_t e = list.count; e % W; ++e)
      for (int i = 0; i < 2; ++i) list.x(i)[e] = list.x(i)[0];
    for (int64_t e = list.count; e % W; ++e) list.weight()[e] = 0;
    sink_.take(met, list);
    list.count = 0;
  }

  const walk::Walk<T>& p_;
  const walk::Slots slots_;
  const polygon::Polygon<V> domain_;
  const Walls<T> walls_;
  Sink& sink_;
  const T* const start_;
  const double extent_;
  const T epsilon_, screening_;  // scaled
  const uint32_t global_instance_;
  const bool endless_;
  bool wanted_[kMet], flux_;
  List<T> lists_[kMet];
  alignas(64) T x_[2][W], n_[2][W], source_[W], radius_[W], place_[W];
  alignas(64) Int busy_[W], step_[W], primitive_[W];
  alignas(64) uint32_t point_[W], walk_[W], last_word_[W], draw_[4][W];
  double weight_[W], share_[W];
  int64_t slot_[W], wall_[W];
  int64_t next_ = 0, last_ = 0;
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::stars
