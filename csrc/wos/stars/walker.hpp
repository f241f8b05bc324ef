// Runs W walks on stars at a time, one per lane. Distances to the absorbing part and random numbers are computed for all lanes together;
// the reflecting part is searched lane by lane. Data is evaluated later, at lists of points, because paths never depend on values.
#pragma once
#include "core/run/interrupt.hpp"
#include "core/run/memory.hpp"
#include "wos/stars/reflecting_2d.hpp"
#include "wos/stars/reflecting_3d.hpp"
#include "wos/walk/lists.hpp"

namespace quatrefoil::wos::stars {
inline namespace QF_ISA {

constexpr uint32_t kBoundaryStream = 2u << 28;
constexpr double kStepNs = 150;
constexpr double kUsualSteps = 20;
constexpr double kRobinRadius = 0.02;    // largest ball that reaches a wall with mu, relative to the box, README (4)
constexpr double kRobinScreened = 0.25;  // largest R sqrt(screening) of such a ball
constexpr double kLargestRadius = 2;     // from any point of the box, such a ball contains the box
constexpr int kEntered = kMet;           // list of source points in the first balls of pairs
constexpr int kLists = kMet + 1;

template <class T, int D>
using List = walk::List<T, D, T>;

// Factors of the weights of a walk of a pair: inside its first ball, and after it.
struct Entered {
  double here, after;
};

// Receives the points where walks evaluate data.
template <class T, int D>
class Sink {
 public:
  virtual double begin(int64_t slot) = 0;                                // starts a walk; returns the factor of its weights
  virtual Entered enter(int64_t slot, const walk::First<T, D>& at) = 0;  // makes the first step of a walk of a pair
  virtual bool wants(int met) const = 0;                                 // whether that kind of data is needed
  virtual void mark(int64_t slot, uint32_t mark) = 0;                    // ends a walk; mark: steps and flags
  // Evaluates data at a list of `count` points, padded to n. met is kEntered for source points in first balls.
  virtual void take(int met, const List<T, D>& list, int64_t n) = 0;

 protected:
  ~Sink() = default;
};

// Runs walks and passes the points where they evaluate data to a Sink. Walls: Reflecting2D or Reflecting3D.
template <class V, class Domain, class Walls>
class Team {
 public:
  static constexpr int D = Domain::D, W = kWidth<V>;
  using T = Element<V>;
  using I = Bits<V>;
  using Int = Bits<T>;
  using U = walk::Words<V>;

  Team(const Stars<T>& p, int64_t instance, const walk::Slots& slots, const Domain& domain, const Walls& walls, Sink<T, D>& sink)
      : p_(p.walk),
        slots_(slots),
        queue_(p.walk, instance, slots),
        domain_(domain),
        walls_(walls),
        sink_(sink),
        extent_(p.walk.frame[(D + 2) * instance + D]),
        epsilon_(T(p.walk.frame[(D + 2) * instance + D + 1])),
        screening_(T(p.walk.screening * extent_ * extent_)),
        global_instance_(uint32_t(p.walk.first_instance + instance)),
        endless_(p.endless),
        lists_{List<T, D>(kCapacity), List<T, D>(kCapacity), List<T, D>(kCapacity), List<T, D>(kCapacity),
               List<T, D>(p.walk.gradient ? kCapacity : 1)} {
    for (int met = 0; met < kMet; ++met) wanted_[met] = sink.wants(met);
    flux_ = wanted_[on_neumann] || wanted_[on_robin];
  }

  void run(int64_t first, int64_t last) {
    queue_.begin(first, last);
    for (int l = 0; l < W; ++l) busy_[l] = 0, step_[l] = 0, point_[l] = walk_[l] = 0;
    for (int i = 0; i < D; ++i)
      for (int l = 0; l < W; ++l) x_[i][l] = 0;
    InterruptCheck check;
    while (refill()) {
      check(W * kStepNs);
      advance();
      for (int met = 0; met < kLists; ++met)
        if (lists_[met].count >= walk::kCallPoints) flush(met);
    }
    for (int met = 0; met < kLists; ++met) flush(met);
  }

 private:
  static constexpr int64_t kCapacity = walk::kCallPoints + 2 * W;

  // Starts the next walk in every idle lane. Returns false when all walks are done.
  bool refill() {
    bool any = false;
    for (int l = 0; l < W; ++l) {
      const T* at;
      const int64_t slot = busy_[l] ? -1 : queue_.next(at);
      if (slot >= 0) {
        busy_[l] = -1, step_[l] = 0, weight_[l] = 1, slot_[l] = slot;
        point_[l] = uint32_t(p_.first_point + slots_.point(slot)), walk_[l] = uint32_t(slots_.walk(slot));
        share_[l] = sink_.begin(slot);
        T near = 4 * kSlack<T>, here[D];
        for (int i = 0; i < D; ++i) x_[i][l] = here[i] = at[i];
        wall_[l] = walls_.closest(here, near);
      }
      any = any || busy_[l];
    }
    return any;
  }

  // Makes a step in every busy lane. Block `step` of stream 0 has its direction, the word of the roulette and, in the plane, the two words
  // of its source's radius; in space these are in stream 1. Stream 2 has the words of the wall point (6).
  void advance() {
    V x[D];
    for (int i = 0; i < D; ++i) x[i] = load<V>(x_[i]);
    const I busy = load<I>(busy_), at = load<I>(step_);
    const U step = __builtin_convertvector(at, U);
    const walk::Random<U> random = words_of(load<U>(walk_));
    U words[4];
    random.words(step, words);
    const polygon::Seen<V> seen = domain_.look(x, busy);
    V n[D];
    walk::direction<V>(words[0], words[1], n);
    for (int i = 0; i < D; ++i) store(n_[i], n[i]);
    if constexpr (D == 2) {
      store(source_, walk::source_radius_disc(walk::uniform<V>(words[1]), walk::uniform<V>(words[2])));
    } else if (wanted_[in_domain]) {
      U more[4];
      random.words(step | walk::kSourceStream, more);
      store(source_, walk::source_radius_ball(walk::uniform<V>(more[0]), walk::uniform<V>(more[1]), walk::uniform<V>(more[2])));
    }
    store(last_word_, words[3]);
    if (flux_) {
      U more[4];
      random.words(step | kBoundaryStream, more);
      for (int i = 0; i < 4; ++i) store(draw_[i], more[i]);
    }
    if (p_.gradient && bits(busy & (at == 0))) leave();
    store(radius_, seen.radius);
    store(place_, seen.place);
    store(primitive_, seen.primitive);
    for (int l = 0; l < W; ++l)
      if (busy_[l]) lane(l);
  }
  walk::Random<U> words_of(U walk) const { return {walk, load<U>(point_), U{} + global_instance_, p_.key0, p_.key1}; }

  // Draws the directions of a pair's first step and of its source point, from the same words as walk (13).
  void leave() {
    using S = Lanes<std::int32_t, W>;
    const U number = load<U>(walk_);
    const walk::Random<U> pair = words_of(number >> 1);
    const V sign = T(1) - T(2) * walk::real<V>((S)(number & 1));
    U words[4];
    V n[D], logarithm;
    pair.words(U{} + walk::kFirstStream, words);
    walk::direction<V>(words[0], words[1], n);
    for (int i = 0; i < D; ++i) store(first_n_[i], sign * n[i]);
    if (!wanted_[in_domain]) return;
    store(first_s_, walk::source_point<false>(pair, U{}, n, logarithm));
    for (int i = 0; i < D; ++i) store(first_m_[i], sign * n[i]);
  }

  // Makes a step in one lane, README (1) to (8).
  void lane(int l) {
    T x[D], n[D];
    for (int i = 0; i < D; ++i) x[i] = x_[i][l], n[i] = n_[i][l];
    const bool out = domain_.escaped(x);
    if (radius_[l] <= epsilon_ || step_[l] >= Int(p_.max_steps) || weight_[l] == 0 || out) return finish(l, x, out);
    if (p_.gradient && step_[l] == 0 && enter(l, x)) return;
    const int64_t own = wall_[l];
    T mass = 0;
    const T R = radius(l, x, own, mass);
    const double factor = own >= 0 ? 2 : 1;
    weight_[l] /= 1 + factor * double(mass);
    if (own >= 0) {
      T inward[D], up = 0;
      walls_.inward(own, inward);
      for (int i = 0; i < D; ++i) up += n[i] * inward[i];
      for (int i = 0; i < D; ++i) n[i] = up < 0 ? -n[i] : n[i];
    }
    T t = R;
    const int64_t met = walls_.hit(x, n, t, own);
    if (wanted_[in_domain] && source_[l] * R < t) add_source(l, x, n, R);
    if (flux_) add_flux(l, x, R, own, factor);
    const T z2 = R * R * screening_;
    if (met >= 0) {
      walls_.land(met, n, t, x);
      if (screening_ > 0) weight_[l] *= double(passed(higher(t / R, T(1e-10)), z2));
    } else {
      for (int i = 0; i < D; ++i) x[i] += R * n[i];
      if (screening_ > 0) weight_[l] /= double(walk::bessel_series<D - 2>(z2 * T(0.25)));
    }
    wall_[l] = met;
    for (int i = 0; i < D; ++i) x_[i][l] = x[i];
    if (weight_[l] < walk::kLightWeight)
      weight_[l] = (double(last_word_[l]) + 0.5) * 0x1p-32 * walk::kLightWeight < weight_[l] ? walk::kLightWeight : 0;
    ++step_[l];
  }

  // (9) Makes the first step of a walk of a pair, in a ball inside the domain. Returns false if a wall is within epsilon.
  bool enter(int l, T (&x)[D]) {
    T R = lower(radius_[l], T(kLargestRadius));
    walls_.closest(x, R);
    if (!(R > epsilon_)) return false;
    if (screening_ > 0) R = lower(R, T(walk::kMostScreened) / square_root(screening_));
    R *= T(walk::kShrunk);
    const T z2 = R * R * screening_;
    walk::SourceWeight<T> source{T(1), T(0)};
    if (wanted_[in_domain]) source = source_weight(first_s_[l], z2);
    T n[D], m[D] = {}, y[D] = {};
    for (int i = 0; i < D; ++i) {
      n[i] = first_n_[i][l];
      if (wanted_[in_domain]) m[i] = first_m_[i][l], y[i] = x[i] + R * first_s_[l] * m[i];
      x_[i][l] = x[i] + R * n[i];
    }
    const Entered share = sink_.enter(slot_[l], walk::first_ball(R, z2, source, n, m));
    const double area = double(R) * double(R) * walk::green_mass(D) * extent_ * extent_;
    if (wanted_[in_domain]) lists_[kEntered].add(y, T(share.here * area), slot_[l]);
    share_[l] = share.after, wall_[l] = -1, step_[l] = 1;
    return true;
  }

  // The radius of the star around x; `mass` becomes the mass (4) of the walls with mu in it.
  T radius(int l, const T (&x)[D], int64_t own, T& mass) const {
    T R = lower(radius_[l], T(kLargestRadius));
    R = higher(epsilon_, walls_.silhouette(x, R));
    if (screening_ > 0) R = lower(R, T(walk::kMostScreened) / square_root(screening_));
    T distance = R;
    if (!walls_.has_mu() || walls_.closest(x, distance, true) < 0) return R;
    T reach = T(kRobinRadius);
    if (screening_ > 0) reach = lower(reach, T(kRobinScreened) / square_root(screening_));
    R = lower(R, higher(distance, reach));
    if (distance < R) mass = walls_.robin_mass(x, R, own);
    if (screening_ > 0) mass *= walk::source_weight<D>(T(0.25), T(1.3862943611198906), R * R * screening_).value;
    return R;
  }

  static T passed(T s, T z2) {
    if constexpr (D == 2)
      return hit_weight(s, T(-elementary::log(s)), z2);
    else
      return hit_weight_ball(s, z2);
  }
  static walk::SourceWeight<T> source_weight(T s, T z2) { return walk::source_weight<D>(s, D == 2 ? T(-elementary::log(s)) : T(0), z2); }

  void add_source(int l, const T (&x)[D], const T (&n)[D], T R) {
    const T s = source_[l];
    T y[D];
    for (int i = 0; i < D; ++i) y[i] = x[i] + R * s * n[i];
    double w = weight_[l] * share_[l] * double(R) * double(R) * walk::green_mass(D) * extent_ * extent_;
    if (screening_ > 0) w *= double(source_weight(s, R * R * screening_).value);
    lists_[in_domain].add(y, T(w), slot_[l]);
  }

  // (6) Adds a point on the walls for the flux.
  void add_flux(int l, const T (&x)[D], T R, int64_t own, double factor) {
    double u[4];
    for (int i = 0; i < 4; ++i) u[i] = (double(draw_[i][l]) + 0.5) * 0x1p-32;
    const Drawn<T, D> z = walls_.draw(x, R, u);
    if (z.wall < 0) return;
    const int met = walls_.is_robin(z.wall) ? on_robin : on_neumann;
    T r2 = 0;
    for (int i = 0; i < D; ++i) r2 += (z.x[i] - x[i]) * (z.x[i] - x[i]);
    const T r = square_root(r2), s = r / R;
    if (!wanted_[met] || !(r > 0) || !(r < R) || !sees(walls_, x, z.x, z.wall, own)) return;
    double green;  // times a scaled length in the plane, or a scaled area in space
    if constexpr (D == 2)
      green = double(T(-elementary::log(s))) * 0.15915494309189533577;
    else
      green = (double(T(1) - s) / double(r)) * 0.07957747154594766788;
    double w = weight_[l] * share_[l] * factor * green * extent_ / z.density;
    if (screening_ > 0) w *= double(source_weight(s, R * R * screening_).value);
    w /= 1 + double(z.height) * double(walls_.mu(z.wall));
    lists_[met].add(z.x, T(w), slot_[l], 0, z.wall, z.place);
  }

  void finish(int l, T (&x)[D], bool out) {
    uint32_t mark = uint32_t(step_[l]);
    if (weight_[l] > 0) {
      if (!(radius_[l] <= epsilon_)) mark |= walk::kCutOff;
      if (out) mark |= walk::kEscaped;
      T place[D - 1] = {place_[l]};
      domain_.project(x, primitive_[l], place);
      const double w = weight_[l] * share_[l];
      if (!endless_ && wanted_[on_boundary]) lists_[on_boundary].add(x, T(w), slot_[l], 0, primitive_[l], place);
    }
    sink_.mark(slot_[l], mark);
    busy_[l] = 0;
  }

  void flush(int met) {
    List<T, D>& list = lists_[met];
    if (!list.count) return;
    sink_.take(met, list, list.pad(W));
    list.count = 0;
  }

  const walk::Walk<T>& p_;
  const walk::Slots slots_;
  walk::Queue<T, D> queue_;
  const Domain& domain_;
  const Walls& walls_;
  Sink<T, D>& sink_;
  const double extent_;
  const T epsilon_, screening_;  // scaled
  const uint32_t global_instance_;
  const bool endless_;
  bool wanted_[kMet], flux_;
  List<T, D> lists_[kLists];
  alignas(64) T x_[D][W], n_[D][W], source_[W], radius_[W], place_[W];
  alignas(64) T first_n_[D][W], first_m_[D][W], first_s_[W];  // first steps of pairs
  alignas(64) Int busy_[W], step_[W], primitive_[W];
  alignas(64) uint32_t point_[W], walk_[W], last_word_[W], draw_[4][W];
  double weight_[W], share_[W];
  int64_t slot_[W], wall_[W];
};

// Runs slots [first, last) of one instance, a polygon or a mesh, with a sink constructed from `arguments`.
template <template <class, int> class Own, class T, class... Args>
void run_team(const Stars<T>& p, int64_t instance, const walk::Slots& slots, int64_t first, int64_t last, Args&&... arguments) {
  using V = Lanes<T>;
  const auto run = [&](const auto& domain, const auto& walls) {
    using Domain = typename std::remove_const<typename std::remove_reference<decltype(domain)>::type>::type;
    using Walls = typename std::remove_const<typename std::remove_reference<decltype(walls)>::type>::type;
    Own<V, Domain::D> sink(arguments...);
    Team<V, Domain, Walls>(p, instance, slots, domain, walls, sink).run(first, last);
    sink.finish();
  };
  const int D = p.walk.dimension;
  const double extent = p.walk.frame[(D + 2) * instance + D];
  if (p.walk.mesh)
    run(mesh::Mesh<V>(*p.walk.mesh), Reflecting3D<T>(p.reflecting[instance], extent));
  else
    run(polygon::Polygon<V>(p.walk.grids[instance]), Reflecting2D<T>(p.reflecting[instance], extent));
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::stars
