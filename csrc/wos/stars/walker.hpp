// Runs W walks on stars at a time, one per lane. Distances to the absorbing part and random numbers are computed for all lanes together;
// the reflecting part is searched lane by lane. Data is evaluated later, at lists of points, because paths never depend on values. A medium
// is needed after each jump; it is evaluated for a few hundred walks at once.
#pragma once
#include "core/run/interrupt.hpp"
#include "core/run/memory.hpp"
#include "wos/media/medium.hpp"
#include "wos/stars/reflecting_2d.hpp"
#include "wos/stars/reflecting_3d.hpp"
#include "wos/stars/sink.hpp"

namespace quatrefoil::wos::stars {
inline namespace QF_ISA {

constexpr uint32_t kBoundaryStream = 2u << 28;
constexpr double kStepNs = 150;
constexpr double kUsualSteps = 20;
constexpr double kRobinRadius = 0.02;    // largest ball that reaches a wall with mu, relative to the box, README (4)
constexpr double kRobinScreened = 0.25;  // largest R sqrt(screening) of such a ball
constexpr double kLargestRadius = 2;     // from any point of the box, such a ball contains the box
constexpr double kMostExchanged = 0.3;   // largest R times the largest bound on |nu_0|, README (12)

// Runs walks and passes the points where they evaluate data to a Sink. Walls: Reflecting2D or Reflecting3D.
template <class V, class Domain, class Walls>
class Team {
 public:
  static constexpr int D = Domain::D, W = kWidth<V>;
  using T = Element<V>;
  using I = Bits<V>;
  using Int = Bits<T>;
  using U = walk::Words<V>;

  // A medium's `roots`: sqrt(alpha) at the starts, one value per point of the instance. Null without a medium.
  Team(const Stars<T>& p, int64_t instance, const walk::Slots& slots, const Domain& domain, const Walls& walls, Sink<T, D>& sink,
       media::Medium<V, D>* medium, const double* roots)
      : p_(p.walk),
        slots_(slots),
        queue_(p.walk, instance, slots),
        domain_(domain),
        walls_(walls),
        sink_(sink),
        medium_(medium),
        roots_(roots),
        side_by_side_(side_by_side<V>(p)),
        most_(most_points<V>(p)),
        extent_(p.walk.frame[(D + 2) * instance + D]),
        epsilon_(T(p.walk.frame[(D + 2) * instance + D + 1])),
        screening_(T((medium ? p.medium->bounds[media::kBounds * instance] : p.walk.screening) * extent_ * extent_)),
        global_instance_(uint32_t(p.walk.first_instance + instance)),
        endless_(p.endless),
        lists_{List<T, D>(most_), List<T, D>(most_), List<T, D>(most_), List<T, D>(most_), List<T, D>(p.walk.gradient ? most_ : 1)},
        jumps_(medium ? side_by_side_ : 1),
        evaluated_(medium ? most_ : 1),
        coordinates_(D * side_by_side_),
        integers_(2 * side_by_side_),
        words_(4 * side_by_side_),
        reals_(2 * side_by_side_),
        indices_(2 * side_by_side_) {
    for (int met = 0; met < kMet; ++met) wanted_[met] = sink.wants(met);
    flux_ = wanted_[on_neumann] || wanted_[on_robin];
  }

  void run(int64_t first, int64_t last) {
    queue_.begin(first, last);
    for (int64_t k = 0; k < side_by_side_; ++k) {
      busy()[k] = 0, step()[k] = 0, of_point()[k] = of_walk()[k] = 0;
      for (int i = 0; i < D; ++i) x(i)[k] = 0;
    }
    InterruptCheck check;
    while (refill()) {
      check(double(side_by_side_) * kStepNs);
      for (int64_t at = 0; at < side_by_side_; at += W)
        if (bits(load<I>(busy() + at))) advance(at);
      jump();
      for (int met = 0; met < kLists; ++met)
        if (lists_[met].count >= walk::kCallPoints) flush(met);
    }
    for (int met = 0; met < kLists; ++met) flush(met);
  }

 private:
  // The state of the walks that make their steps together.
  T* x(int i) const { return coordinates_ + i * side_by_side_; }
  Int* busy() const { return integers_; }
  Int* step() const { return integers_ + side_by_side_; }
  uint32_t* of_point() const { return words_; }
  uint32_t* of_walk() const { return words_ + side_by_side_; }
  uint32_t* last_word() const { return words_ + 2 * side_by_side_; }
  uint32_t* beyond() const { return words_ + 3 * side_by_side_; }
  double* weight() const { return reals_; }
  double* share() const { return reals_ + side_by_side_; }
  int64_t* slot() const { return indices_; }
  int64_t* wall() const { return indices_ + side_by_side_; }

  // Starts the next walk in every idle lane. Returns false when all walks are done.
  bool refill() {
    bool any = false;
    for (int64_t k = 0; k < side_by_side_; ++k) {
      const T* at;
      const int64_t of = busy()[k] ? -1 : queue_.next(at);
      if (of >= 0) {
        busy()[k] = -1, step()[k] = 0, weight()[k] = 1, slot()[k] = of, beyond()[k] = 0;
        of_point()[k] = uint32_t(p_.first_point + slots_.point(of)), of_walk()[k] = uint32_t(slots_.walk(of));
        share()[k] = sink_.begin(of);
        T near = 4 * kSlack<T>, here[D];
        for (int i = 0; i < D; ++i) x(i)[k] = here[i] = at[i];
        wall()[k] = walls_.closest(here, near);
      }
      any = any || busy()[k];
    }
    return any;
  }

  // Makes a step in every busy lane. Block `step` of stream 0 supplies its direction, the word of the roulette and, in the plane, the two
  // words of its source's radius; in space these are in stream 1. Stream 2 supplies the words of the wall point (6). In a medium, words 1
  // and 2 of stream 3 decide about jumps.
  void advance(int64_t first) {
    V here[D];
    for (int i = 0; i < D; ++i) here[i] = load<V>(x(i) + first);
    const I active = load<I>(busy() + first), steps = load<I>(step() + first);
    const U block = __builtin_convertvector(steps, U);
    const walk::Random<U> random = words_of(first, load<U>(of_walk() + first));
    U words[4];
    random.words(block, words);
    const polygon::Seen<V> seen = domain_.look(here, active);
    V n[D];
    walk::direction<V>(words[0], words[1], n);
    for (int i = 0; i < D; ++i) store(n_[i], n[i]);
    if constexpr (D == 2) {
      store(source_, walk::source_radius_disc(walk::uniform<V>(words[1]), walk::uniform<V>(words[2])));
    } else if (wanted_[in_domain] || medium_) {
      U more[4];
      random.words(block | walk::kSourceStream, more);
      store(source_, walk::source_radius_ball(walk::uniform<V>(more[0]), walk::uniform<V>(more[1]), walk::uniform<V>(more[2])));
    }
    store(last_word() + first, words[3]);
    if (flux_ || walls_.exchange() > 0) {
      U more[4];
      random.words(block | kBoundaryStream, more);
      for (int i = 0; i < 4; ++i) store(draw_[i], more[i]);
    }
    if (medium_) {
      U more[4];
      random.words(block | walk::kRouletteStream, more);
      store(to_source_, more[1]), store(to_wall_, more[2]);
    }
    if (p_.gradient && bits(active & (steps == 0))) leave(first);
    store(radius_, seen.radius);
    store(place_, seen.place);
    store(primitive_, seen.primitive);
    for (int l = 0; l < W; ++l)
      if (busy()[first + l]) lane(first + l, l);
  }
  walk::Random<U> words_of(int64_t first, U walk) const {
    return {walk, load<U>(of_point() + first), U{} + global_instance_, p_.key0, p_.key1};
  }

  // Draws the directions of a pair's first step and of its source point, from the same words as walk (13), or in a medium as media (8).
  void leave(int64_t first) {
    using S = Lanes<std::int32_t, W>;
    const U number = load<U>(of_walk() + first);
    const walk::Random<U> pair = words_of(first, number >> 1);
    const V sign = T(1) - T(2) * walk::real<V>((S)(number & 1));
    U words[4], more[4];
    V n[D], logarithm;
    pair.words(U{} + walk::kFirstStream, words);
    walk::direction<V>(words[0], words[1], n);
    for (int i = 0; i < D; ++i) store(first_n_[i], sign * n[i]);
    if (!wanted_[in_domain] && !medium_) return;
    store(first_s_, walk::source_point<false>(pair, U{}, n, logarithm));
    if (medium_) {
      pair.words(U{} + (walk::kSourceStream + walk::kTrial), more);
      walk::direction<V>(more[0], more[1], n);
      store(decides_, walk::uniform<V>(words[2])), store(choice_, walk::uniform<V>(words[3]));
    }
    for (int i = 0; i < D; ++i) store(first_m_[i], sign * n[i]);
  }

  // Makes a step of walk k, in lane l of its vector: README (1) to (8).
  void lane(int64_t k, int l) {
    T at[D], n[D];
    for (int i = 0; i < D; ++i) at[i] = x(i)[k], n[i] = n_[i][l];
    const bool out = domain_.escaped(at);
    if (radius_[l] <= epsilon_ || step()[k] >= Int(p_.max_steps) || weight()[k] == 0 || out) return finish(k, l, at, out);
    if (p_.gradient && step()[k] == 0 && enter(k, l, at)) return;
    const int64_t own = wall()[k];
    T mass = 0;
    const T R = radius(l, at, own, mass), z2 = R * R * screening_;
    const double factor = own >= 0 ? 2 : 1;
    weight()[k] /= 1 + factor * double(mass);
    if (own >= 0) {
      T inward[D], up = 0;
      walls_.inward(own, inward);
      for (int i = 0; i < D; ++i) up += n[i] * inward[i];
      for (int i = 0; i < D; ++i) n[i] = up < 0 ? -n[i] : n[i];
    }
    T t = R;
    const int64_t met = walls_.hit(at, n, t, own);
    Inside inside{source_[l] * R < t, {}, 1};
    if (inside.counts && (wanted_[in_domain] || medium_)) {
      for (int i = 0; i < D; ++i) inside.x[i] = at[i] + R * source_[l] * n[i];
      if (screening_ > 0) inside.share = double(source_weight(source_[l], z2).value);
      if (wanted_[in_domain]) add_source(k, inside, R);
    }
    OnWall on_wall;
    if (flux_ || walls_.exchange() > 0) on_wall = draw(l, at, R, own, factor);
    if (flux_ && on_wall.green > 0) add_flux(k, on_wall);
    if (medium_ && jumps(k, l, inside, z2, on_wall)) return;
    if (met >= 0)
      walls_.land(met, n, t, at);
    else
      for (int i = 0; i < D; ++i) at[i] += R * n[i];
    if (screening_ > 0 && !medium_)
      weight()[k] = met >= 0 ? weight()[k] * double(passed(higher(t / R, T(1e-10)), z2))
                             : weight()[k] / double(walk::bessel_series<D - 2>(z2 * T(0.25)));
    move(k, at, met);
    settle(k);
  }
  void move(int64_t k, const T (&to)[D], int64_t wall_) {
    for (int i = 0; i < D; ++i) x(i)[k] = to[i];
    wall()[k] = wall_;
  }
  // Ends a step with the roulette of light walks.
  void settle(int64_t k) {
    double& w = weight()[k];
    const double size = w < 0 ? -w : w;
    if (size < walk::kLightWeight)
      w = (double(last_word()[k]) + 0.5) * 0x1p-32 * walk::kLightWeight < size ? (w < 0 ? -walk::kLightWeight : walk::kLightWeight) : 0;
    ++step()[k];
  }

  // The source point of a step, whether it is closer than the wall, and its weight with screening.
  struct Inside {
    bool counts;
    T x[D];
    double share;
  };
  // A point drawn on the walls, and the estimate of the integral of G over them; 0 if the point contributes nothing.
  struct OnWall {
    Drawn<T, D> z;
    double green = 0;
  };

  // (12) Decides whether a walk jumps, to a point on the walls or to the source point. `jump` will evaluate the medium there.
  bool jumps(int64_t k, int l, const Inside& inside, T z2, const OnWall& on_wall) {
    const double odds = on_wall.green > 0 ? on_wall.green * double(walls_.exchange(on_wall.z.wall)) : 0;
    weight()[k] *= 1 + odds;
    const auto uniform = [l](const uint32_t* word) { return (double(word[l]) + 0.5) * 0x1p-32; };
    if (uniform(to_wall_) * (1 + odds) < odds)
      move(k, on_wall.z.x, on_wall.z.wall);
    else if (inside.counts && uniform(to_source_) < double(z2) * walk::green_mass(D) * inside.share)
      move(k, inside.x, -1);
    else
      return false;
    T to[D];
    for (int i = 0; i < D; ++i) to[i] = x(i)[k];
    jumps_.add(to, 0, k, 0, wall()[k]);
    return true;
  }

  // (12) Multiplies the weights of walks that have jumped.
  void jump() {
    if (!jumps_.count) return;
    const auto at = jumps_.points();
    medium_->rates(at.of, jumps_.pad(W), evaluated_);
    for (int64_t e = 0; e < jumps_.count; ++e) {
      const int64_t k = jumps_.slot()[e], wall = jumps_.primitive()[e];
      double ratio;
      if (wall < 0) {
        ratio = evaluated_[e] / double(screening_);
        weight()[k] *= 1 - ratio;
      } else {
        T inward[D];
        walls_.inward(wall, inward);
        double nu = double(walls_.constant(wall));
        for (int i = 0; i < D; ++i) nu += double(inward[i]) * medium_->slope(i, e);
        ratio = nu / double(walls_.exchange(wall));
        weight()[k] *= -ratio;
      }
      if (ratio > 1 + media::kBoundRounding || ratio < -1 - media::kBoundRounding) ++beyond()[k];
      settle(k);
    }
    jumps_.count = 0;
  }

  // (9) Makes the first step of a walk of a pair, in a ball inside the domain. Returns false if a wall is within epsilon.
  bool enter(int64_t k, int l, const T (&from)[D]) {
    T R = lower(radius_[l], T(kLargestRadius));
    walls_.closest(from, R);
    if (!(R > epsilon_)) return false;
    if (screening_ > 0) R = lower(R, T(walk::kMostScreened) / square_root(screening_));
    R *= T(walk::kShrunk);
    const T z2 = R * R * screening_;
    T n[D], m[D] = {}, y[D] = {}, s = first_s_[l];
    const bool inner = wanted_[in_domain] || medium_;
    for (int i = 0; i < D; ++i) n[i] = first_n_[i][l], m[i] = inner ? first_m_[i][l] : T(0);
    walk::First<T, D> at;
    bool jumps = false;
    if (medium_) {
      const auto ball = media::first_ball<D>(s, choice_[l], decides_[l], R, screening_);
      s = ball.s, jumps = ball.inside, at.along = ball.along, at.source = ball.source;
      for (int i = 0; i < D; ++i) at.outward[i] = ball.outward * (jumps ? m[i] : n[i]), at.toward[i] = ball.toward * m[i];
    } else {
      at = walk::first_ball(R, z2, wanted_[in_domain] ? source_weight(s, z2) : walk::SourceWeight<T>{T(1), T(0)}, n, m);
    }
    for (int i = 0; inner && i < D; ++i) y[i] = from[i] + R * s * m[i];
    const Entered entered = sink_.enter(slot()[k], at);
    const double area = double(R) * double(R) * walk::green_mass(D) * extent_ * extent_;
    if (wanted_[in_domain]) lists_[kEntered].add(y, T(entered.here * area), slot()[k]);
    share()[k] = entered.after, wall()[k] = -1;
    for (int i = 0; i < D; ++i) x(i)[k] = jumps ? y[i] : from[i] + R * n[i];
    if (jumps)
      jumps_.add(y, 0, k, 0, -1);  // `jump` ends the step
    else
      step()[k] = 1;
    return true;
  }

  // The radius of the star around x; `mass` becomes the mass (4) of the walls with mu in it.
  T radius(int l, const T (&x)[D], int64_t own, T& mass) const {
    T R = lower(radius_[l], T(kLargestRadius));
    R = higher(epsilon_, walls_.silhouette(x, R));
    if (screening_ > 0) R = lower(R, T(walk::kMostScreened) / square_root(screening_));
    if (walls_.exchange() > 0) R = lower(R, T(kMostExchanged) / walls_.exchange());
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

  void add_source(int64_t k, const Inside& inside, T R) {
    double w = weight()[k] * share()[k] * double(R) * double(R) * walk::green_mass(D) * extent_ * extent_;
    if (screening_ > 0) w *= inside.share;
    lists_[in_domain].add(inside.x, T(w), slot()[k]);
  }

  // (6) Draws a point on the walls.
  OnWall draw(int l, const T (&from)[D], T R, int64_t own, double factor) const {
    double u[4];
    for (int i = 0; i < 4; ++i) u[i] = (double(draw_[i][l]) + 0.5) * 0x1p-32;
    OnWall drawn{walls_.draw(from, R, u)};
    const Drawn<T, D>& z = drawn.z;
    if (z.wall < 0) return drawn;
    T r2 = 0;
    for (int i = 0; i < D; ++i) r2 += (z.x[i] - from[i]) * (z.x[i] - from[i]);
    const T r = square_root(r2), s = r / R;
    if (!(r > 0) || !(r < R) || !sees(walls_, from, z.x, z.wall, own)) return drawn;
    double green;  // G times a scaled length in the plane, or a scaled area in space
    if constexpr (D == 2)
      green = double(T(-elementary::log(s))) * 0.15915494309189533577;
    else
      green = (double(T(1) - s) / double(r)) * 0.07957747154594766788;
    green *= factor / z.density;
    if (screening_ > 0) green *= double(source_weight(s, R * R * screening_).value);
    drawn.green = green / (1 + double(z.height) * double(walls_.mu(z.wall)));
    return drawn;
  }
  void add_flux(int64_t k, const OnWall& drawn) {
    const Drawn<T, D>& z = drawn.z;
    const int met = walls_.is_robin(z.wall) ? on_robin : on_neumann;
    if (wanted_[met]) lists_[met].add(z.x, T(weight()[k] * share()[k] * extent_ * drawn.green), slot()[k], 0, z.wall, z.place);
  }

  void finish(int64_t k, int l, T (&at)[D], bool out) {
    const int64_t steps = step()[k];
    uint32_t mark = uint32_t(steps);
    if (weight()[k] != 0) {
      if (!(radius_[l] <= epsilon_)) mark |= walk::kCutOff;
      if (out) mark |= walk::kEscaped;
      T place[D - 1] = {place_[l]};
      domain_.project(at, primitive_[l], place);
      const double w = weight()[k] * share()[k];
      if (!endless_ && wanted_[on_boundary]) lists_[on_boundary].add(at, T(w), slot()[k], steps, primitive_[l], place);
    }
    sink_.mark(slot()[k], mark, beyond()[k]);
    busy()[k] = 0;
  }

  void flush(int met) {
    List<T, D>& list = lists_[met];
    if (!list.count) return;
    const int64_t n = list.pad(W);
    if (medium_ && medium_->varies()) convert(met, list, n);
    sink_.take(met, list, n);
    list.count = 0;
  }
  // Media (1) Multiplies boundary values and fluxes by sqrt(alpha) and divides sources by it. A walk without steps has the plain boundary
  // value.
  void convert(int met, List<T, D>& list, int64_t n) {
    const auto at = list.points();
    medium_->roots(at.of, n, evaluated_);
    for (int64_t e = 0; e < list.count; ++e) {
      const double root = evaluated_[e], from = roots_[slots_.point(list.slot()[e])];
      const bool inside = met == in_domain || met == kEntered, plain = met == on_boundary && !list.step()[e];
      list.weight()[e] = T(double(list.weight()[e]) * (inside ? 1 / (root * from) : plain ? 1 : root / from));
    }
  }

  const walk::Walk<T>& p_;
  const walk::Slots slots_;
  walk::Queue<T, D> queue_;
  const Domain& domain_;
  const Walls& walls_;
  Sink<T, D>& sink_;
  media::Medium<V, D>* const medium_;
  const double* const roots_;
  const int64_t side_by_side_, most_;
  const double extent_;
  const T epsilon_, screening_;  // scaled; in a medium, the latter is the bound on |sigma'|
  const uint32_t global_instance_;
  const bool endless_;
  bool wanted_[kMet], flux_;
  List<T, D> lists_[kLists], jumps_;
  const Scratch<double> evaluated_;
  const Scratch<T> coordinates_;
  const Scratch<Int> integers_;
  const Scratch<uint32_t> words_;
  const Scratch<double> reals_;
  const Scratch<int64_t> indices_;
  // The current vector of walks.
  alignas(64) T n_[D][W], source_[W], radius_[W], place_[W];
  alignas(64) T first_n_[D][W], first_m_[D][W], first_s_[W], decides_[W], choice_[W];  // first steps of pairs
  alignas(64) Int primitive_[W];
  alignas(64) uint32_t draw_[4][W], to_source_[W], to_wall_[W];
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::stars
