// Runs W walks on stars at a time, one per lane. Distances to the absorbing part and random numbers are computed for all lanes together;
// the reflecting part is searched lane by lane. Data is evaluated later, at lists of points, because paths never depend on values. A medium
// is needed after each jump; it is evaluated for a few hundred walks at once.
#pragma once
#include "core/run/interrupt.hpp"
#include "core/run/memory.hpp"
#include "wos/media/medium.hpp"
#include "wos/stars/lists.hpp"
#include "wos/stars/reflecting_2d.hpp"
#include "wos/stars/reflecting_3d.hpp"

namespace quatrefoil::wos::stars {
inline namespace QF_ISA {

constexpr uint32_t kBoundaryStream = 2u << 28;
constexpr double kStepNs = 150;
constexpr double kUsualSteps = 20;
constexpr double kRobinRadius = 0.02;    // largest ball that reaches a wall with mu, relative to the box, README (4)
constexpr double kRobinScreened = 0.25;  // largest R sqrt(screening) of such a ball
constexpr double kLargestRadius = 2;     // from any point of the box, such a ball contains the box
constexpr double kMaxExchange = 0.3;     // largest R times the largest bound on |nu_0|, README (12)

// Runs walks and passes the points where they evaluate data to a Sink. Walls: Reflecting2D or Reflecting3D. A medium is a template
// parameter because its branches would slow down walks without one by 3 to 8 %.
template <class V, class Domain, class Walls, bool kInMedium>
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
        capacity_(list_capacity<V>(p)),
        extent_(p.walk.frame[(D + 2) * instance + D]),
        epsilon_(T(p.walk.frame[(D + 2) * instance + D + 1])),
        screening_(T((kInMedium ? p.medium->bounds[media::kBounds * instance] : p.walk.screening) * extent_ * extent_)),
        global_instance_(uint32_t(p.walk.first_instance + instance)),
        endless_(p.endless),
        lists_{List<T, D>(capacity_), List<T, D>(capacity_), List<T, D>(capacity_), List<T, D>(capacity_),
               List<T, D>(p.walk.gradient ? capacity_ : 1)},
        jumps_(kInMedium ? side_by_side_ : 1),
        evaluated_(kInMedium ? capacity_ : 1),
        groups_(groups()) {
    for (int met = 0; met < kMet; ++met) wanted_[met] = sink.wants(met);
    flux_ = wanted_[on_neumann] || wanted_[on_robin];
  }

  void run(int64_t first, int64_t last) {
    queue_.begin(first, last);
    __builtin_memset(groups_, 0, std::size_t(groups()) * sizeof(Group));
    InterruptCheck check;
    while (refill()) {
      check(double(groups() * W) * kStepNs);
      for (int64_t k = 0; k < groups(); ++k)
        if (bits(load<I>(groups_[k].busy))) advance(groups_[k]);
      if constexpr (kInMedium) jump();
      for (int met = 0; met < kLists; ++met)
        if (lists_[met].count >= walk::kCallPoints) flush(met);
    }
    for (int met = 0; met < kLists; ++met) flush(met);
    sink_.finish();
  }

 private:
  // The state of W walks, one per lane.
  struct Group {
    alignas(64) T x[D][W];
    Int busy[W], step[W];
    uint32_t point[W], walk[W], last_word[W], beyond[W];
    double weight[W];
    int64_t slot[W], wall[W];
  };
  int64_t groups() const { return kInMedium ? side_by_side_ / W : 1; }
  int64_t number(const Group& g, int l) const { return (&g - groups_) * W + l; }

  // Starts the next walk in every idle lane. Returns false when all walks are done.
  bool refill() {
    bool any = false;
    for (int64_t k = 0; k < groups() * W; ++k) {
      Group& g = groups_[k / W];
      const int l = int(k % W);
      const T* at;
      const int64_t next = g.busy[l] ? -1 : queue_.next(at);
      if (next >= 0) {
        g.busy[l] = -1, g.step[l] = 0, g.weight[l] = 1, g.slot[l] = next, g.beyond[l] = 0;
        g.point[l] = uint32_t(p_.first_point + slots_.point(next)), g.walk[l] = uint32_t(slots_.walk(next));
        sink_.begin(next);
        T near = 4 * kSlack<T>, here[D];
        for (int i = 0; i < D; ++i) g.x[i][l] = here[i] = at[i];
        g.wall[l] = walls_.closest(here, near);
      }
      any = any || g.busy[l];
    }
    return any;
  }

  // Makes a step in every busy lane. Block `step` of stream 0 supplies its direction, the word of the roulette and, in the plane, the two
  // words of its source's radius; in space these are in stream 1. Stream 2 supplies the words of the wall point (6). In a medium, words 1
  // and 2 of stream 3 decide about jumps.
  void advance(Group& g) {
    V here[D];
    for (int i = 0; i < D; ++i) here[i] = load<V>(g.x[i]);
    const I active = load<I>(g.busy), steps = load<I>(g.step);
    const U block = __builtin_convertvector(steps, U);
    const walk::Random<U> random = words_of(g, load<U>(g.walk));
    U words[4];
    random.words(block, words);
    const polygon::Seen<V> seen = domain_.look(here, active);
    V n[D];
    walk::direction<V>(words[0], words[1], n);
    for (int i = 0; i < D; ++i) store(n_[i], n[i]);
    if constexpr (D == 2) {
      store(source_, walk::source_radius_disc(walk::uniform<V>(words[1]), walk::uniform<V>(words[2])));
    } else if (wanted_[in_domain] || kInMedium) {
      U more[4];
      random.words(block | walk::kSourceStream, more);
      store(source_, walk::source_radius_ball(walk::uniform<V>(more[0]), walk::uniform<V>(more[1]), walk::uniform<V>(more[2])));
    }
    store(g.last_word, words[3]);
    if (draws()) {
      U more[4];
      random.words(block | kBoundaryStream, more);
      for (int i = 0; i < 4; ++i) store(draw_[i], more[i]);
    }
    if constexpr (kInMedium) {
      U more[4];
      random.words(block | walk::kRouletteStream, more);
      store(to_source_, more[1]), store(to_wall_, more[2]);
    }
    if (p_.gradient && bits(active & (steps == 0))) leave(g);
    store(radius_, seen.radius);
    store(t_, seen.t);
    store(primitive_, seen.primitive);
    for (int l = 0; l < W; ++l)
      if (g.busy[l]) lane(g, l);
  }
  walk::Random<U> words_of(const Group& g, U walk) const { return {walk, load<U>(g.point), U{} + global_instance_, p_.key0, p_.key1}; }

  // Draws the directions of a pair's first step and of its source point, from the same words as walk (13), or in a medium as media (8).
  void leave(const Group& g) {
    using S = Lanes<std::int32_t, W>;
    const U number = load<U>(g.walk);
    const walk::Random<U> pair = words_of(g, number >> 1);
    const V sign = T(1) - T(2) * walk::real<V>((S)(number & 1));
    U words[4], more[4];
    V n[D], logarithm;
    pair.words(U{} + walk::kFirstStream, words);
    walk::direction<V>(words[0], words[1], n);
    for (int i = 0; i < D; ++i) store(first_n_[i], sign * n[i]);
    if (!wanted_[in_domain] && !kInMedium) return;
    store(first_s_, walk::source_point<false>(pair, U{}, n, logarithm));
    if constexpr (kInMedium) {
      pair.words(U{} + (walk::kSourceStream + walk::kTrial), more);
      walk::direction<V>(more[0], more[1], n);
      store(decides_, walk::uniform<V>(words[2])), store(choice_, walk::uniform<V>(words[3]));
    }
    for (int i = 0; i < D; ++i) store(first_m_[i], sign * n[i]);
  }

  // Makes a step of the walk in lane l: README (1) to (8).
  void lane(Group& g, int l) {
    T at[D], n[D];
    for (int i = 0; i < D; ++i) at[i] = g.x[i][l], n[i] = n_[i][l];
    const bool out = domain_.escaped(at);
    if (radius_[l] <= epsilon_ || g.step[l] >= Int(p_.max_steps) || g.weight[l] == 0 || out) return finish(g, l, at, out);
    if (p_.gradient && g.step[l] == 0 && enter(g, l, at)) return;
    const int64_t own = g.wall[l];
    T mass = 0;
    const T R = radius(l, at, own, mass), z2 = R * R * screening_;
    const double factor = own >= 0 ? 2 : 1;
    if (mass > 0) g.weight[l] /= 1 + factor * double(mass);
    if (own >= 0) {
      T inward[D], up = 0;
      walls_.inward(own, inward);
      for (int i = 0; i < D; ++i) up += n[i] * inward[i];
      for (int i = 0; i < D; ++i) n[i] = up < 0 ? -n[i] : n[i];
    }
    T t = R;
    const int64_t met = walls_.hit(at, n, t, own);
    Inside inside{source_[l] * R < t, {}, 1};
    if (inside.counts && (wanted_[in_domain] || kInMedium)) {
      for (int i = 0; i < D; ++i) inside.x[i] = at[i] + R * source_[l] * n[i];
      if (screening_ > 0) inside.share = double(source_weight(source_[l], z2).value);
      if (wanted_[in_domain]) add_source(g, l, inside, R);
    }
    OnWall on_wall;
    if (draws()) on_wall = draw(l, at, R, own, factor);
    if (flux_ && on_wall.green > 0) add_flux(g, l, on_wall);
    if constexpr (kInMedium)
      if (jumps(g, l, inside, z2, on_wall)) return;
    if (met >= 0)
      walls_.land(met, n, t, at);
    else
      for (int i = 0; i < D; ++i) at[i] += R * n[i];
    if (screening_ > 0 && !kInMedium)
      g.weight[l] = met >= 0 ? g.weight[l] * double(passed(higher(t / R, T(1e-10)), z2))
                             : g.weight[l] / double(walk::bessel_series<D - 2>(z2 * T(0.25)));
    move(g, l, at, met);
    settle(g, l);
  }
  void move(Group& g, int l, const T (&to)[D], int64_t wall) {
    for (int i = 0; i < D; ++i) g.x[i][l] = to[i];
    g.wall[l] = wall;
  }
  // Ends a step with the roulette of light walks.
  void settle(Group& g, int l) {
    double& w = g.weight[l];
    const double size = w < 0 ? -w : w;
    if (size < walk::kLightWeight)
      w = (double(g.last_word[l]) + 0.5) * 0x1p-32 * walk::kLightWeight < size ? (w < 0 ? -walk::kLightWeight : walk::kLightWeight) : 0;
    ++g.step[l];
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
  bool jumps(Group& g, int l, const Inside& inside, T z2, const OnWall& on_wall) {
    const double odds = on_wall.green > 0 ? on_wall.green * double(walls_.exchange(on_wall.z.wall)) : 0;
    g.weight[l] *= 1 + odds;
    const auto uniform = [l](const uint32_t* word) { return (double(word[l]) + 0.5) * 0x1p-32; };
    if (uniform(to_wall_) * (1 + odds) < odds)
      move(g, l, on_wall.z.x, on_wall.z.wall);
    else if (inside.counts && uniform(to_source_) < double(z2) * walk::green_mass(D) * inside.share)
      move(g, l, inside.x, -1);
    else
      return false;
    T to[D];
    for (int i = 0; i < D; ++i) to[i] = g.x[i][l];
    jumps_.add(to, 0, number(g, l), 0, g.wall[l]);
    return true;
  }

  // (12) Multiplies the weights of walks that have jumped.
  void jump() {
    if (!jumps_.count) return;
    const auto at = jumps_.points();
    medium_->rates(at.column, jumps_.pad(W), evaluated_);
    for (int64_t e = 0; e < jumps_.count; ++e) {
      const int64_t k = jumps_.slot()[e], wall = jumps_.primitive()[e];
      Group& g = groups_[k / W];
      const int l = int(k % W);
      double ratio;
      if (wall < 0) {
        ratio = evaluated_[e] / double(screening_);
        g.weight[l] *= 1 - ratio;
      } else {
        T inward[D];
        walls_.inward(wall, inward);
        double nu = double(walls_.constant(wall));
        for (int i = 0; i < D; ++i) nu += double(inward[i]) * medium_->slope(i, e);
        ratio = nu / double(walls_.exchange(wall));
        g.weight[l] *= -ratio;
      }
      if (ratio > 1 + media::kBoundRounding || ratio < -1 - media::kBoundRounding) ++g.beyond[l];
      settle(g, l);
    }
    jumps_.count = 0;
  }

  // (9) Makes the first step of a walk of a pair, in a ball inside the domain. Returns false if a wall is within epsilon.
  bool enter(Group& g, int l, const T (&from)[D]) {
    T R = lower(radius_[l], T(kLargestRadius));
    walls_.closest(from, R);
    if (!(R > epsilon_)) return false;
    if (screening_ > 0) R = lower(R, T(walk::kMaxScreening) / square_root(screening_));
    R *= T(walk::kShrunk);
    const T z2 = R * R * screening_;
    T n[D], m[D] = {}, y[D] = {}, s = first_s_[l];
    const bool inner = wanted_[in_domain] || kInMedium;
    for (int i = 0; i < D; ++i) n[i] = first_n_[i][l], m[i] = inner ? first_m_[i][l] : T(0);
    walk::First<T, D> at;
    bool jumps = false;
    if constexpr (kInMedium) {
      const auto ball = media::first_ball<D>(s, choice_[l], decides_[l], R, screening_);
      s = ball.s, jumps = ball.inside, at.along = ball.along, at.source = ball.source;
      for (int i = 0; i < D; ++i) at.outward[i] = ball.outward * (jumps ? m[i] : n[i]), at.toward[i] = ball.toward * m[i];
    } else {
      at = walk::first_ball(R, z2, wanted_[in_domain] ? source_weight(s, z2) : walk::SourceWeight<T>{T(1), T(0)}, n, m);
    }
    for (int i = 0; inner && i < D; ++i) y[i] = from[i] + R * s * m[i];
    sink_.enter(g.slot[l], at);
    const double area = double(R) * double(R) * walk::green_mass(D) * extent_ * extent_;
    if (wanted_[in_domain]) lists_[kEntered].add(y, T(area), g.slot[l]);
    g.wall[l] = -1;
    for (int i = 0; i < D; ++i) g.x[i][l] = jumps ? y[i] : from[i] + R * n[i];
    if (jumps)
      jumps_.add(y, 0, number(g, l), 0, -1);  // `jump` ends the step
    else
      g.step[l] = 1;
    return true;
  }

  // The radius of the star around x; `mass` becomes the mass (4) of the walls with mu in it.
  T radius(int l, const T (&x)[D], int64_t own, T& mass) const {
    T R = lower(radius_[l], T(kLargestRadius));
    R = higher(epsilon_, walls_.silhouette(x, R));
    if (screening_ > 0) R = lower(R, T(walk::kMaxScreening) / square_root(screening_));
    if (kInMedium && walls_.exchange() > 0) R = lower(R, T(kMaxExchange) / walls_.exchange());
    return walls_.has_mu() ? near_robin(x, R, own, mass) : R;
  }
  // Inlined, this and `draw` would make every step spill registers.
  [[gnu::noinline]] T near_robin(const T (&x)[D], T R, int64_t own, T& mass) const {
    T distance = R;
    if (walls_.closest(x, distance, true) < 0) return R;
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

  void add_source(Group& g, int l, const Inside& inside, T R) {
    double w = g.weight[l] * double(R) * double(R) * walk::green_mass(D) * extent_ * extent_;
    if (screening_ > 0) w *= inside.share;
    lists_[in_domain].add(inside.x, T(w), g.slot[l]);
  }

  bool draws() const { return flux_ || (kInMedium && walls_.exchange() > 0); }
  int kind(int64_t wall) const { return walls_.is_robin(wall) ? on_robin : on_neumann; }

  // (6) Draws a point on the walls.
  [[gnu::noinline]] OnWall draw(int l, const T (&from)[D], T R, int64_t own, double factor) const {
    double u[4];
    for (int i = 0; i < 4; ++i) u[i] = (double(draw_[i][l]) + 0.5) * 0x1p-32;
    OnWall drawn{walls_.draw(from, R, u)};
    const Drawn<T, D>& z = drawn.z;
    if (z.wall < 0 || (!kInMedium && !wanted_[kind(z.wall)])) return drawn;
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
  void add_flux(Group& g, int l, const OnWall& drawn) {
    const Drawn<T, D>& z = drawn.z;
    const int met = kind(z.wall);
    if (wanted_[met]) lists_[met].add(z.x, T(g.weight[l] * extent_ * drawn.green), g.slot[l], 0, z.wall, z.corner_weights);
  }

  void finish(Group& g, int l, T (&at)[D], bool out) {
    const int64_t steps = g.step[l];
    uint32_t mark = uint32_t(steps);
    if (g.weight[l] != 0) {
      if (!(radius_[l] <= epsilon_)) mark |= walk::kCutOff;
      if (out) mark |= walk::kEscaped;
      T corner_weights[D - 1] = {t_[l]};
      domain_.project(at, primitive_[l], corner_weights);
      if (!endless_ && wanted_[on_boundary]) lists_[on_boundary].add(at, T(g.weight[l]), g.slot[l], steps, primitive_[l], corner_weights);
    }
    sink_.mark(g.slot[l], mark, g.beyond[l]);
    g.busy[l] = 0;
  }

  void flush(int met) {
    List<T, D>& list = lists_[met];
    if (!list.count) return;
    const int64_t n = list.pad(W);
    if (kInMedium && medium_->varies()) convert(met, list, n);
    sink_.take(met, list, n);
    list.count = 0;
  }
  // Multiplies boundary values and fluxes by sqrt(alpha), divides sources by it: media (1). A walk without steps keeps its boundary value.
  void convert(int met, List<T, D>& list, int64_t n) {
    const auto at = list.points();
    medium_->roots(at.column, n, evaluated_);
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
  const int64_t side_by_side_, capacity_;
  const double extent_;
  const T epsilon_, screening_;  // scaled; in a medium, the latter is the bound on |sigma'|
  const uint32_t global_instance_;
  const bool endless_;
  bool wanted_[kMet], flux_;
  List<T, D> lists_[kLists], jumps_;
  const Scratch<double> evaluated_;
  const Scratch<Group> groups_;
  // The current vector of walks.
  alignas(64) T n_[D][W], source_[W], radius_[W], t_[W];
  alignas(64) T first_n_[D][W], first_m_[D][W], first_s_[W], decides_[W], choice_[W];  // first steps of pairs
  alignas(64) Int primitive_[W];
  alignas(64) uint32_t draw_[4][W], to_source_[W], to_wall_[W];
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::stars
