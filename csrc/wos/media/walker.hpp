// Runs 256 walks that make their steps together (4096 if the diffusion or screening is a function), so that the diffusion, needed after
// each jump, is evaluated for all of them at once. Sources and boundary values are evaluated later, at lists of points.
#pragma once
#include "core/run/interrupt.hpp"
#include "core/run/memory.hpp"
#include "wos/media/medium.hpp"
#include "wos/walk/lists.hpp"

namespace quatrefoil::wos::media {
inline namespace QF_ISA {

constexpr double kStepNs = 60;
constexpr double kUsualSteps = 20;

template <class T, int D>
using List = walk::List<T, D, double>;

using walk::in_domain;
using walk::kEntered;
using walk::kLists;
using walk::kMet;
using walk::on_boundary;

// README (8): factors of a pair's contributions after its first ball, and of the source in that ball.
template <int D>
using First = walk::First<double, D>;
template <class T, int D>
using Sink = walk::ListSink<T, D, double>;

// A domain with virtual functions. A query takes a few hundred instructions anyway, and Team is compiled only once for all domains.
template <class V, int D>
class Domain {
 public:
  using T = Element<V>;
  virtual polygon::Seen<V> look(const V (&x)[D], Bits<V> active) const = 0;
  virtual bool escaped(const T (&x)[D]) const = 0;
  virtual void project(T (&x)[D], Bits<T>& primitive, T (&where)[D - 1]) const = 0;

 protected:
  ~Domain() = default;
};
template <class V, class Of>
class DomainOf final : public Domain<V, Of::D> {
 public:
  static constexpr int D = Of::D;
  using T = Element<V>;
  explicit DomainOf(const Of& domain) : domain_(domain) {}
  polygon::Seen<V> look(const V (&x)[D], Bits<V> active) const override { return domain_.look(x, active); }
  bool escaped(const T (&x)[D]) const override { return domain_.escaped(x); }
  void project(T (&x)[D], Bits<T>& primitive, T (&where)[D - 1]) const override { domain_.project(x, primitive, where); }

 private:
  const Of& domain_;
};

// Runs walks and passes the points where they evaluate data to a Sink.
template <class V, int dimension>
class Team {
 public:
  static constexpr int D = dimension, W = kWidth<V>;
  using T = Element<V>;
  using I = Bits<V>;
  using Int = Bits<T>;
  using U = walk::Words<V>;

  // `roots`: sqrt(alpha) at the starts, one value per point of the instance.
  Team(const Media<T>& p, int64_t instance, const walk::Slots& slots, const Domain<V, D>& domain, const double* roots, Sink<T, D>& sink)
      : p_(p.walk),
        slots_(slots),
        queue_(p.walk, instance, slots),
        domain_(domain),
        sink_(sink),
        roots_(roots),
        side_by_side_(walks_together(p)),
        capacity_(walk::kCallPoints + side_by_side_),
        extent_(p.walk.frame[instance * (D + 2) + D]),
        bound_(p.bounds[kBounds * instance] * extent_ * extent_),
        epsilon_(T(p.walk.frame[instance * (D + 2) + D + 1])),
        global_instance_(uint32_t(p.walk.first_instance + instance)),
        medium_(p, instance, capacity_),
        lists_{List<T, D>(capacity_), List<T, D>(capacity_), List<T, D>(1), List<T, D>(1), List<T, D>(p.walk.gradient ? capacity_ : 1)},
        jumps_(side_by_side_),
        evaluated_(capacity_),
        reals_((D + 1) * side_by_side_),
        ints_(2 * side_by_side_),
        words_(3 * side_by_side_),
        slot_(side_by_side_) {
    for (int met = 0; met < kMet; ++met) wanted_[met] = sink.wants(met);
  }

  void run(int64_t first, int64_t last) {
    queue_.begin(first, last);
    for (int64_t l = 0; l < side_by_side_; ++l) {
      busy()[l] = 0, step()[l] = 0, weight()[l] = 1, of_point()[l] = of_walk()[l] = beyond()[l] = 0;
      for (int i = 0; i < D; ++i) x(i)[l] = 0;
    }
    InterruptCheck check;
    while (refill()) {
      check(double(side_by_side_) * kStepNs);
      for (int64_t at = 0; at < side_by_side_; at += W)
        if (bits(load<I>(busy() + at))) advance(at);
      jump();
      for (int list = 0; list < kLists; ++list)
        if (lists_[list].count >= walk::kCallPoints) flush(list);
    }
    for (int list = 0; list < kLists; ++list) flush(list);
    sink_.finish();
  }

 private:
  T* x(int i) const { return reals_ + i * side_by_side_; }
  T* weight() const { return reals_ + D * side_by_side_; }
  Int* busy() const { return ints_; }
  Int* step() const { return ints_ + side_by_side_; }
  uint32_t* of_point() const { return words_; }
  uint32_t* of_walk() const { return words_ + side_by_side_; }
  uint32_t* beyond() const { return words_ + 2 * side_by_side_; }

  // Starts the next walk in every idle lane. Returns false when all walks are done.
  bool refill() {
    bool any = false;
    for (int64_t l = 0; l < side_by_side_; ++l) {
      const T* at;
      const int64_t slot = busy()[l] ? -1 : queue_.next(at);
      if (slot >= 0) {
        busy()[l] = -1, step()[l] = 0, weight()[l] = 1, beyond()[l] = 0, slot_[l] = slot;
        of_point()[l] = uint32_t(p_.first_point + slots_.point(slot)), of_walk()[l] = uint32_t(slots_.walk(slot));
        sink_.begin(slot);
        for (int i = 0; i < D; ++i) x(i)[l] = at[i];
      }
      any = any || busy()[l];
    }
    return any;
  }

  // The radius s of a point in the unit ball, walk (4a), (4b); -log s, in the plane only; and a uniform number for the decision to jump.
  struct Drawn {
    V s, logarithm, decides;
  };
  QF_HD static U narrow(I i) { return __builtin_convertvector(i, U); }

  // The words of a step, from block `step` of stream 0. In the plane: one for the direction, two for the radius, one for the decision. In
  // space: two for the direction; the others are in trial 1.
  QF_HD Drawn draw(int64_t at, I steps, V (&n)[D]) const {
    const U w = load<U>(of_walk() + at), from = load<U>(of_point() + at), instance = U{} + global_instance_;
    U a[4] = {narrow(steps), w, from, instance};
    philox(a, p_.key0, p_.key1);
    walk::direction<V>(a[0], a[1], n);
    if constexpr (D == 2) {
      const V u1 = walk::uniform<V>(a[1]), u2 = walk::uniform<V>(a[2]);
      return {walk::source_radius_disc(u1, u2), elementary::log(u1 * u2) * T(-0.5), walk::uniform<V>(a[3])};
    } else {
      U b[4] = {narrow(steps) | walk::kTrial, w, from, instance};
      philox(b, p_.key0, p_.key1);
      return {walk::source_radius_ball(walk::uniform<V>(b[0]), walk::uniform<V>(b[1]), walk::uniform<V>(b[2])), V{},
              walk::uniform<V>(b[3])};
    }
  }

  // (5), (6) Makes a step in W lanes: to the sphere, or to a point inside, where `jump` will evaluate the rate.
  void advance(int64_t at) {
    V here[D];
    for (int i = 0; i < D; ++i) here[i] = load<V>(x(i) + at);
    I active = load<I>(busy() + at);
    const I steps = load<I>(step() + at);
    const V weights = load<V>(weight() + at);
    polygon::Seen<V> seen = domain_.look(here, active);
    const I ends = active & ((seen.radius <= epsilon_) | (steps >= Int(p_.max_steps)) | (weights == 0));
    if (const unsigned ending = bits(ends)) finish(at, ending, here, weights, seen);
    active &= ~ends;
    store(busy() + at, active);
    if (!bits(active)) return;
    const T bound = T(bound_);
    V R = bound > 0 ? lower(seen.radius, broadcast<V>(T(walk::kMaxScreening) / square_root(bound))) : seen.radius;
    V n[D], inner[D];
    const Drawn drawn = draw(at, steps, n);
    V z2 = R * R * bound, w = broadcast<V>(T(1)), r = R * drawn.s;
    if (bound > 0) w = walk::source_weight<D>(drawn.s, drawn.logarithm, z2).value;
    I jumping = active & (drawn.decides < z2 * T(walk::green_mass(D)) * w);
    V area = R * R * T(walk::green_mass(D)) * w;
    for (int i = 0; i < D; ++i) inner[i] = n[i];
    const I first = p_.gradient ? active & (steps == 0) : I{};
    if (bits(first)) enter(at, first, R, n, r, inner, area, jumping);
    if (wanted_[in_domain]) record(at, bits(active), bits(first), here, r, inner, weights * area);
    for (int i = 0; i < D; ++i) {
      const V to = jumping != 0 ? here[i] + r * inner[i] : here[i] + R * n[i];
      store(x(i) + at, active != 0 ? to : here[i]);
    }
    store(step() + at, steps - active);  // a true lane of a mask is -1
    for (unsigned rest = bits(jumping); rest; rest &= rest - 1) {
      const int l = __builtin_ctz(rest);
      T to[D];
      for (int i = 0; i < D; ++i) to[i] = x(i)[at + l];
      jumps_.add(to, 0, at + l, 0);
    }
  }

  // (8) Makes the first step of pairs in lanes `first`: opposite directions, and opposite points inside at the same radius.
  void enter(int64_t at, I first, V& R, V (&n)[D], V& r, V (&inner)[D], V& area, I& jumping) {
    const U own = load<U>(of_walk() + at), pair = own >> 1, from = load<U>(of_point() + at), instance = U{} + global_instance_;
    using S = Lanes<std::int32_t, W>;
    const V sign = T(1) - T(2) * walk::real<V>((S)(own & 1));
    U a[4] = {U{} + walk::kFirstStream, pair, from, instance}, b[4] = {U{} + walk::kSourceStream, pair, from, instance};
    U c[4] = {U{} + (walk::kSourceStream + walk::kTrial), pair, from, instance};
    philox(a, p_.key0, p_.key1);
    philox(b, p_.key0, p_.key1);
    philox(c, p_.key0, p_.key1);
    V out[D], m[D];
    walk::direction<V>(a[0], a[1], out);
    walk::direction<V>(c[0], c[1], m);
    V s;
    if constexpr (D == 2)
      s = walk::source_radius_disc(walk::uniform<V>(b[0]), walk::uniform<V>(b[1]));
    else
      s = walk::source_radius_ball(walk::uniform<V>(b[0]), walk::uniform<V>(b[1]), walk::uniform<V>(b[2]));
    const V radius = R * T(walk::kShrunk);
    const FirstBall<V> ball = first_ball<D>(s, walk::uniform<V>(a[3]), walk::uniform<V>(a[2]), radius, T(bound_));
    for (unsigned rest = bits(first); rest; rest &= rest - 1) {
      const int l = __builtin_ctz(rest);
      First<D> entered;
      entered.along = double(ball.along[l]), entered.source = double(ball.source[l]);
      for (int i = 0; i < D; ++i) {
        entered.outward[i] = double(sign[l] * (ball.inside[l] ? m[i][l] : out[i][l])) * double(ball.outward[l]);
        entered.toward[i] = double(sign[l] * m[i][l]) * double(ball.toward[l]);
      }
      sink_.enter(slot_[at + l], entered);
    }
    for (int i = 0; i < D; ++i) {
      n[i] = first != 0 ? sign * out[i] : n[i];
      inner[i] = first != 0 ? sign * m[i] : inner[i];
    }
    R = first != 0 ? radius : R;
    r = first != 0 ? radius * ball.s : r;
    area = first != 0 ? radius * radius * T(walk::green_mass(D)) : area;
    jumping = first != 0 ? first & ball.inside : jumping;
  }

  void record(int64_t at, unsigned active, unsigned first, const V (&here)[D], V r, const V (&inner)[D], V area) {
    for (; active; active &= active - 1) {
      const int l = __builtin_ctz(active);
      const double factor = 1 / roots_[of_point()[at + l] - uint32_t(p_.first_point)];
      T y[D];
      for (int i = 0; i < D; ++i) y[i] = here[i][l] + r[l] * inner[i][l];
      lists_[(first >> l) & 1 ? kEntered : int(in_domain)].add(y, double(area[l]) * extent_ * extent_ * factor, slot_[at + l]);
    }
  }

  // Multiplies the weights of walks that have jumped (6), and applies the roulette to light ones, walk (14).
  void jump() {
    if (!jumps_.count) return;
    const auto at = jumps_.points();
    medium_.rates(at.column, jumps_.pad(W), evaluated_);
    for (int64_t e = 0; e < jumps_.count; ++e) {
      const int64_t l = jumps_.slot()[e];
      const double share = evaluated_[e] / bound_;
      if (share > 1 + kBoundRounding || share < -1 - kBoundRounding) ++beyond()[l];
      T& w = weight()[l];
      w = T(double(w) * (1 - share));
      const T size = w < 0 ? -w : w;
      if (!(size < T(walk::kLightWeight)) || size == 0) continue;
      uint32_t words[4] = {uint32_t(step()[l] - 1) | walk::kRouletteStream, of_walk()[l], of_point()[l], global_instance_};
      philox(words, p_.key0, p_.key1);
      const bool survives = (double(words[0]) + 0.5) * 0x1p-32 * walk::kLightWeight < double(size);
      w = survives ? (w < 0 ? T(-walk::kLightWeight) : T(walk::kLightWeight)) : T(0);
    }
    jumps_.count = 0;
  }

  void finish(int64_t at, unsigned ending, const V (&here)[D], V weights, const polygon::Seen<V>& seen) {
    for (; ending; ending &= ending - 1) {
      const int l = __builtin_ctz(ending);
      const int64_t lane = at + l, steps = step()[lane];
      T end[D], where[D - 1] = {seen.t[l]};
      Int primitive = seen.primitive[l];
      for (int i = 0; i < D; ++i) end[i] = here[i][l];
      uint32_t mark = uint32_t(steps);
      if (weights[l] != 0) {
        if (!(seen.radius[l] <= epsilon_)) mark |= walk::kCutOff;
        if (domain_.escaped(end)) mark |= walk::kEscaped;
        domain_.project(end, primitive, where);
        const double root = steps ? roots_[of_point()[lane] - uint32_t(p_.first_point)] : 1;
        if (wanted_[on_boundary]) lists_[on_boundary].add(end, double(weights[l]) / root, slot_[lane], steps, int64_t(primitive), where);
      }
      sink_.mark(slot_[lane], mark, beyond()[lane]);
    }
  }

  // Multiplies boundary values by sqrt(alpha) and divides sources by it (1). A walk without steps has the plain boundary value.
  [[gnu::noinline]] void flush(int met) {
    List<T, D>& list = lists_[met];
    if (!list.count) return;
    const int64_t n = list.pad(W);
    if (medium_.varies()) {
      const auto at = list.points();
      medium_.roots(at.column, n, evaluated_);
      for (int64_t e = 0; e < list.count; ++e)
        if (met != on_boundary)
          list.weight()[e] /= evaluated_[e];
        else if (list.step()[e])
          list.weight()[e] *= evaluated_[e];
    }
    sink_.take(met, list, n);
    list.count = 0;
  }

  const walk::Walk<T>& p_;
  const walk::Slots slots_;
  walk::Queue<T, D> queue_;
  const Domain<V, D>& domain_;
  Sink<T, D>& sink_;
  const double* const roots_;
  const int64_t side_by_side_, capacity_;
  const double extent_, bound_;  // bound_ is in scaled units
  const T epsilon_;
  const uint32_t global_instance_;
  Medium<V, D> medium_;
  List<T, D> lists_[kLists], jumps_;
  bool wanted_[kMet];
  const Scratch<double> evaluated_;
  const Scratch<T> reals_;
  const Scratch<Int> ints_;
  const Scratch<uint32_t> words_;
  const Scratch<int64_t> slot_;
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::media
