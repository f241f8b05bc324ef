// The values of walks on stars, and the gradients of their means with respect to the data's parameters, by replaying the walks.
#pragma once
#include "wos/media/points.hpp"
#include "wos/stars/walker.hpp"

namespace quatrefoil::wos::stars {
inline namespace QF_ISA {

// The kind of data that a list's points evaluate.
constexpr int data_of(int met) { return met == kEntered ? int(in_domain) : met; }

template <class V, int D>
using Fields = walk::Fields<V, D, kMet>;
template <class V, int D, class T>
Fields<V, D> fields_of(const Stars<T>& p, int64_t instance, int64_t capacity) {
  return {p.walk, instance, {&p.data(0), &p.data(1), &p.data(2), &p.data(3)}, capacity};
}

// `values`, `marks` and `beyond` have one element per slot of [first, last); `beyond` is null without a medium. Consecutive channels of
// `values` are `slots` elements apart. Each kind of data is summed separately in step order, so other walks do not affect rounding.
template <class V, int D>
class Values final : public Sink<Element<V>, D> {
 public:
  using T = Element<V>;
  Values(const Stars<T>& p, int64_t instance, int64_t first, int64_t last, double* values, int64_t slots, uint32_t* marks, uint32_t* beyond,
         const walk::Slots& walks)
      : fields_(fields_of<V, D>(p, instance, list_capacity<V>(p))),
        walks_(walks),
        slopes_(p.medium && p.walk.gradient ? p.medium->slopes + instance * p.walk.N * D : nullptr),
        pairs_(p.walk.gradient),
        scale_(1 / p.walk.frame[(D + 2) * instance + D]),
        first_(first),
        last_(last),
        slots_(slots),
        values_(values),
        marks_(marks),
        beyond_(beyond),
        sums_(kLists * (last - first)),
        firsts_(pairs_ ? kFirst * (last - first) : 0) {
    for (int64_t i = 0; i < kLists * (last - first); ++i) sums_[i] = 0;
  }
  double begin(int64_t slot) override {  // without a first ball: the value of an unpaired walk, and an unknown gradient
    for (int j = 0; pairs_ && j < kFirst; ++j) first_ball(slot, j) = j == 0 ? 1 : j == 1 ? 0 : __builtin_nan("");
    return 1;
  }
  Entered enter(int64_t slot, const walk::First<T, D>& at) override {
    first_ball(slot, 0) = double(at.along), first_ball(slot, 1) = double(at.source);
    for (int i = 0; i < D; ++i)  // converts the gradient to absolute coordinates
      first_ball(slot, 2 + i) = double(at.outward[i]) * scale_, first_ball(slot, 2 + D + i) = double(at.toward[i]) * scale_;
    return {1, 1};
  }
  bool wants(int met) const override { return fields_[met].data.kind != data::Kind::none; }
  void mark(int64_t slot, uint32_t mark, uint32_t beyond) override {
    marks_[slot] = mark;
    if (beyond_) beyond_[slot] = beyond;
  }
  void take(int met, const List<T, D>& list, int64_t n) override {
    const double* const values = fields_.at(data_of(met), list, n);
    double* const sums = sums_ + met * (last_ - first_);
    for (int64_t e = 0; e < list.count; ++e) sums[list.slot()[e] - first_] += double(list.weight()[e]) * values[e];
  }
  void finish() {
    const int64_t n = last_ - first_;
    for (int64_t i = 0; i < n; ++i) {
      const double later = (sums_[i] + sums_[n + i]) + (sums_[2 * n + i] + sums_[3 * n + i]), here = sums_[kEntered * n + i];
      values_[first_ + i] = later;
      if (!pairs_) continue;
      const double* const ball = firsts_ + kFirst * i;
      values_[first_ + i] = ball[0] * later + ball[1] * here;
      const double* const slope = slopes_ ? slopes_ + walks_.point(first_ + i) * D : nullptr;
      for (int c = 0; c < D; ++c) {
        const double of_root = slope ? values_[first_ + i] * slope[c] : 0;  // media (8)
        values_[(1 + c) * slots_ + first_ + i] = ball[2 + c] * later + ball[2 + D + c] * here - of_root;
      }
    }
  }

 private:
  static constexpr int kFirst = 2 + 2 * D;  // fields of a First
  double& first_ball(int64_t slot, int j) { return firsts_[kFirst * (slot - first_) + j]; }

  const Fields<V, D> fields_;
  const walk::Slots walks_;
  const double* const slopes_;  // null without a medium or pairs
  const bool pairs_;
  const double scale_;
  const int64_t first_, last_, slots_;
  double* const values_;
  uint32_t *const marks_, *const beyond_;
  const Scratch<double> sums_;
  Scratch<double> firsts_;
};

// Adds the walks' shares of the gradients, walk README (7), (8), for the four kinds of data.
template <class V, int D>
class Shares final : public Sink<Element<V>, D> {
 public:
  using T = Element<V>;
  Shares(const StarsAdjoint<T>& q, int64_t instance, const walk::Slots& walks, double* const* to)
      : p_(q.forward.walk),
        walks_(walks),
        grad_(q.grad + instance * p_.N * p_.nodes() * p_.channels()),
        slopes_(q.forward.medium && p_.gradient ? q.forward.medium->slopes + instance * p_.N * D : nullptr),
        scale_(1 / p_.frame[(D + 2) * instance + D]),
        fields_(fields_of<V, D>(q.forward, instance, 0)),
        adjoints_{{fields_[0], to[0]}, {fields_[1], to[1]}, {fields_[2], to[2]}, {fields_[3], to[3]}} {}
  // A walk's share of its node's gradient.
  double begin(int64_t slot) override {
    const walk::NodeGradient node = node_of(slot);
    return node.channels[0] / node.walks;
  }
  Entered enter(int64_t slot, const walk::First<T, D>& at) override {
    const walk::NodeGradient node = node_of(slot);
    const double* const grad = node.channels;
    double value = grad[0];
    for (int i = 0; slopes_ && i < D; ++i) value -= grad[1 + i] * slopes_[walks_.point(slot) * D + i];  // media (8)
    Entered share{value * double(at.source), value * double(at.along)};
    for (int i = 0; i < D; ++i) {
      share.here += grad[1 + i] * scale_ * double(at.toward[i]);
      share.after += grad[1 + i] * scale_ * double(at.outward[i]);
    }
    return {share.here / node.walks, share.after / node.walks};
  }
  bool wants(int met) const override { return adjoints_[met].wanted(); }
  void mark(int64_t, uint32_t, uint32_t) override {}
  void take(int met, const List<T, D>& list, int64_t n) override {
    fields_.add_gradient(data_of(met), adjoints_[data_of(met)], list, list.weight(), n);
  }
  void finish() const {}

 private:
  walk::NodeGradient node_of(int64_t slot) const { return gradient_of_node(p_, grad_, walks_.point(slot), walks_.walk(slot)); }

  const walk::Walk<T>& p_;
  const walk::Slots walks_;
  const double *const grad_, *const slopes_;
  const double scale_;
  const Fields<V, D> fields_;
  data::FieldAdjoint<V, D> adjoints_[kMet];
};

// Runs slots [first, last) of one instance with a sink constructed from `arguments`. `roots`: sqrt(alpha) at the instance's starts.
template <template <class, int> class Own, class T, class... Args>
void run_team(const Stars<T>& p, int64_t instance, const walk::Slots& slots, const double* roots, int64_t first, int64_t last,
              Args&&... arguments) {
  using V = Lanes<T>;
  const auto run = [&](const auto& domain, const auto& walls) {
    using Domain = typename std::remove_const<typename std::remove_reference<decltype(domain)>::type>::type;
    using Walls = typename std::remove_const<typename std::remove_reference<decltype(walls)>::type>::type;
    Own<V, Domain::D> sink(arguments...);
    if (p.medium) {
      media::Medium<V, Domain::D> medium(*p.medium, instance, list_capacity<V>(p), true);
      Team<V, Domain, Walls, true>(p, instance, slots, domain, walls, sink, &medium, roots).run(first, last);
    } else {
      Team<V, Domain, Walls, false>(p, instance, slots, domain, walls, sink, nullptr, nullptr).run(first, last);
    }
    sink.finish();
  };
  const int D = p.walk.dimension;
  const double extent = p.walk.frame[(D + 2) * instance + D];
  if (p.walk.mesh)
    run(mesh::Mesh<V>(*p.walk.mesh), Reflecting3D<T>(p.reflecting[instance], extent));
  else
    run(polygon::Polygon<V>(p.walk.grids[instance]), Reflecting2D<T>(p.reflecting[instance], extent));
}

// Costs as much as a forward run without its reduction. Memory: at most walk::kParts partial sums per gradient, for any number of walks.
template <class T>
void stars_adjoint(const StarsAdjoint<T>& unscaled) {
  const walk::Walk<T>& p = unscaled.forward.walk;
  const int64_t total = p.N * p.walks;
  if (p.B * total == 0) return;
  const walk::Units units(unscaled.grad, p.B, p.N * p.nodes() * p.channels());
  StarsAdjoint<T> q = unscaled;
  q.grad = units.grad();
  const int64_t parts = max<int64_t>(1, min(walk::kParts / p.B, total / walk::kPartWalks));
  const walk::Parts sums[kMet] = {{q.forward.data(0), p.B, parts, q.numbers[0]},
                                  {q.forward.data(1), p.B, parts, q.numbers[1]},
                                  {q.forward.data(2), p.B, parts, q.numbers[2]},
                                  {q.forward.data(3), p.B, parts, q.numbers[3]}};
  const walk::Slots slots{0, p.N, p.first_walk, p.walks};
  const Scratch<double> roots(q.forward.medium ? p.B * p.N : 0);
  if (q.forward.medium) media::find_roots(*q.forward.medium, roots);
  walk::in_batches(p, parts, kUsualSteps * kStepNs, [&](int64_t instance, int64_t part, int64_t first, int64_t last) {
    double* const to[kMet] = {sums[0](instance, part), sums[1](instance, part), sums[2](instance, part), sums[3](instance, part)};
    run_team<Shares>(q.forward, instance, slots, roots + instance * p.N, first, last, q, instance, slots, static_cast<double* const*>(to));
  });
  for (const walk::Parts& each : sums) each.add_up(units);
}

template <class T>
void stars(const Stars<T>& q) {
  const walk::Walk<T>& p = q.walk;
  const Scratch<double> roots(q.medium ? p.B * p.N : 0);
  if (q.medium) media::find_roots(*q.medium, roots);
  walk::in_rounds(p, [&](const walk::Round& r, double* values, uint32_t* marks) {
    const int64_t total = r.total();
    const Scratch<uint32_t> jumps(q.medium ? (r.instance_end - r.instance) * total : 0);
    walk::in_tasks(r, p.threads, q.medium && media::calls_functions(*q.medium), kUsualSteps * kStepNs,
                   [&](int64_t at, int64_t first, int64_t last) {
                     const int64_t instance = r.instance + at;
                     double* const own = values + at * total * p.channels();
                     uint32_t* const beyond = q.medium ? jumps + at * total : nullptr;
                     run_team<Values>(q, instance, r.slots, roots + instance * p.N, first, last, q, instance, first, last, own, total,
                                      marks + at * total, beyond, r.slots);
                   });
    if (q.medium) media::add_jumps(*q.medium, r, jumps);
  });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::stars
