// What walks add up to: their values, and the gradients of their means in the numbers of the data, for which they walk again.
#pragma once
#include "wos/media/walker.hpp"
#include "wos/walk/adjoint.hpp"

namespace quatrefoil::wos::media {
inline namespace QF_ISA {

// The data of one instance.
template <class V, int D>
struct Fields {
  using T = Element<V>;
  const data::Field<V, D> of[kMet];

  Fields(const Media<T>& p, int64_t instance) : of{field(p, p.walk.dirichlet, instance), field(p, p.walk.source, instance)} {}
  static data::Field<V, D> field(const Media<T>& p, const data::Data& data, int64_t instance) {
    return {data, instance, p.walk.first_instance, p.walk.frame + instance * (D + 2)};
  }
};

// `values`, `marks` and `beyond` have a number a slot; a channel of the values begins every `slots` numbers. Sums are
// made in the order of a walk's steps, so that no other walk has a say in how they are rounded.
template <class V, int D>
class Values final : public Sink<Element<V>, D> {
 public:
  using T = Element<V>;
  Values(const Media<T>& p, int64_t instance, int64_t first, int64_t last, double* values, int64_t slots, uint32_t* marks, uint32_t* beyond)
      : p_(p),
        fields_(p, instance),
        instance_(instance),
        first_(first),
        last_(last),
        slots_(slots),
        values_(values),
        marks_(marks),
        beyond_(beyond),
        sums_(3 * (last - first)),
        firsts_(p.walk.gradient ? last - first : 0),
        room_(2 * kMost),
        absolute_(D * kMost) {
    for (int64_t i = 0; i < 3 * (last - first); ++i) sums_[i] = 0;
  }

  // Without a step the value is that of the boundary, and the gradient is not known.
  Factors begin(int64_t slot) override {
    if (!p_.walk.gradient) return {1, 1};
    First<D>& first = firsts_[slot - first_];
    first.along = 1, first.source = 0;
    for (int i = 0; i < D; ++i) first.outward[i] = first.toward[i] = __builtin_nan("");
    return {1, 1};
  }
  Factors enter(int64_t slot, const First<D>& found) override {
    firsts_[slot - first_] = found;
    return {1, 1};
  }
  bool wants(int met) const override { return fields_.of[met].data.kind != Kind::none; }
  void mark(int64_t slot, uint32_t mark, uint32_t beyond) override { marks_[slot] = mark, beyond_[slot] = beyond; }

  void take(int met, const List<T, D>& list, int64_t n) override {
    const double* const found = evaluate(met, list, n);
    for (int64_t e = 0; e < list.count; ++e) {
      const bool in_first = met == in_domain && p_.walk.gradient && list.step()[e] == 0;
      sums_[(in_first ? 2 : met) * (last_ - first_) + list.slot()[e] - first_] += list.weight()[e] * found[e];
    }
  }

  // Those of U become those of u: README (8).
  void finish(const walk::Slots& slots, const double* slopes) const {
    const int64_t n = last_ - first_;
    for (int64_t k = 0; k < n; ++k) {
      const double found = sums_[k] + sums_[n + k], source = sums_[2 * n + k];
      if (!p_.walk.gradient) {
        values_[first_ + k] = found;
        continue;
      }
      const First<D>& first = firsts_[k];
      const double value = first.along * found + first.source * source, extent = fields_.of[0].frame[D];
      const double* const slope = slopes + slots.point(first_ + k) * D;
      values_[first_ + k] = value;
      for (int i = 0; i < D; ++i)
        values_[(1 + i) * slots_ + first_ + k] = (first.outward[i] * found + first.toward[i] * source) / extent - value * slope[i];
    }
  }

 private:
  static constexpr int64_t kMost = walk::kCallPoints + kForCalls + kWidth<V>;

  const double* evaluate(int met, const List<T, D>& list, int64_t n) {
    const data::Field<V, D>& field = fields_.of[met];
    if (field.data.kind == Kind::per_vertex) {
      const auto place = list.places();
      for (int64_t e = 0; e < list.count; ++e) room_[e] = field.on_piece(list.primitive()[e], place.of, e);
      return room_;
    }
    const auto x = list.points();
    field.evaluate(x.of, n, static_cast<double*>(room_), absolute_, room_ + kMost);
    return room_;
  }

  const Media<T>& p_;
  const Fields<V, D> fields_;
  const int64_t instance_, first_, last_, slots_;
  double* const values_;
  uint32_t *const marks_, *const beyond_;
  const Scratch<double> sums_;
  const Scratch<First<D>> firsts_;
  const Scratch<double> room_, absolute_;
};

// Walk README (7), (8).
template <class V, int D>
class Shares final : public Sink<Element<V>, D> {
 public:
  using T = Element<V>;
  Shares(const MediaAdjoint<T>& q, int64_t instance, const walk::Slots& slots, double* ddirichlet, double* dsource)
      : p_(q.forward),
        slots_(slots),
        nodes_(p_.walk.nodes()),
        grad_(q.grad + instance * p_.walk.N * nodes_ * p_.walk.channels()),
        slopes_(p_.slopes + instance * p_.walk.N * D),
        fields_(p_, instance),
        adjoints_{{fields_.of[0], ddirichlet}, {fields_.of[1], dsource}},
        shares_(walk::kCallPoints + kForCalls + kWidth<V>) {}

  // Its share of the gradient in its node.
  Factors begin(int64_t slot) override {
    const double share = *of_node(slot) / size(slot);
    return {share, share};
  }
  Factors enter(int64_t slot, const First<D>& found) override {
    const double *const grad = of_node(slot), *const slope = slopes_ + slots_.point(slot) * D;
    double value = grad[0];
    Factors factors{0, 0};
    for (int i = 0; i < D; ++i) {
      const double g = grad[1 + i] / fields_.of[0].frame[D];
      factors.later += g * found.outward[i], factors.first += g * found.toward[i];
      value -= grad[1 + i] * slope[i];
    }
    return {(factors.later + value * found.along) / size(slot), (factors.first + value * found.source) / size(slot)};
  }
  bool wants(int met) const override { return adjoints_[met].wanted(); }
  void mark(int64_t, uint32_t, uint32_t) override {}
  void take(int met, const List<T, D>& list, int64_t n) override {
    if (fields_.of[met].data.kind == Kind::per_vertex) {
      const auto place = list.places();
      for (int64_t e = 0; e < list.count; ++e) adjoints_[met].add_on_piece(list.primitive()[e], place.of, e, list.weight()[e]);
      return;
    }
    const auto x = list.points();
    for (int64_t e = 0; e < n; ++e) shares_[e] = e < list.count ? T(list.weight()[e]) : T(0);
    adjoints_[met].add(x.of, shares_, n);
  }

 private:
  const double* of_node(int64_t slot) const {
    int64_t node = 0, at = 0;
    find(slot, at, node);
    return grad_ + (slots_.point(slot) * nodes_ + node) * p_.walk.channels();
  }
  double size(int64_t slot) const {
    int64_t node = 0, at = 0;
    return double(find(slot, at, node) * p_.walk.group());
  }
  // The node of a walk, and how many samples it has.
  int64_t find(int64_t slot, int64_t& at, int64_t& node) const {
    const walk::Walk<T>& p = p_.walk;
    const int64_t sample = slots_.walk(slot) / p.group(), end = (p.first_walk + p.walks) / p.group();
    at = p.first_walk / p.group();
    int64_t size = walk::node_size(at, end);
    for (; at + size <= sample; size = walk::node_size(at, end)) at += size, ++node;
    return size;
  }

  const Media<T>& p_;
  const walk::Slots slots_;
  const int64_t nodes_;
  const double *const grad_, *const slopes_;
  const Fields<V, D> fields_;
  data::FieldAdjoint<V, D> adjoints_[kMet];
  const Scratch<T> shares_;
};

// Calls f(sink) with one that is made of `made_of`, whose walks [first, last) of an instance have been run.
template <template <class, int> class Own, class T, class F, class... Args>
void run_team(const Media<T>& p, int64_t instance, const walk::Slots& slots, const double* roots, int64_t first, int64_t last, const F& f,
              const Args&... made_of) {
  using V = Lanes<T>;
  walk::with_inside<V>(p.walk, instance, [&](const auto& domain) {
    using Of = typename std::remove_const<typename std::remove_reference<decltype(domain)>::type>::type;
    Own<V, Of::D> sink(made_of...);
    Team<V, Of::D>(p, instance, slots, DomainOf<V, Of>(domain), roots, sink).run(first, last);
    f(sink);
  });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::media
