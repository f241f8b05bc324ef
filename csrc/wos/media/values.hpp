// The values of walks through media, and the gradients of their means with respect to the data's parameters, by replaying the walks.
#pragma once
#include "wos/media/walker.hpp"

namespace quatrefoil::wos::media {
inline namespace QF_ISA {

template <class V, int D>
using Fields = walk::Fields<V, D, kMet>;

// `values`, `marks` and `beyond` have one element per slot. Consecutive channels of `values` are `slots` elements apart. Sums follow the
// order of a walk's steps, so that rounding does not depend on other walks.
template <class V, int D>
class Values final : public Sink<Element<V>, D> {
 public:
  using T = Element<V>;
  Values(const Media<T>& p, int64_t instance, int64_t first, int64_t last, double* values, int64_t slots, uint32_t* marks, uint32_t* beyond)
      : p_(p),
        fields_(p.walk, instance, {&p.walk.dirichlet, &p.walk.source}, walk::kCallPoints + kForCalls + kWidth<V>),
        first_(first),
        last_(last),
        slots_(slots),
        values_(values),
        marks_(marks),
        beyond_(beyond),
        sums_(3 * (last - first)),
        firsts_(p.walk.gradient ? last - first : 0) {
    for (int64_t i = 0; i < 3 * (last - first); ++i) sums_[i] = 0;
  }

  // A walk without steps has the boundary value and an unknown gradient.
  Factors begin(int64_t slot) override {
    if (!p_.walk.gradient) return {1, 1};
    First<D>& first = firsts_[slot - first_];
    first.along = 1, first.source = 0;
    for (int i = 0; i < D; ++i) first.outward[i] = first.toward[i] = __builtin_nan("");
    return {1, 1};
  }
  Factors enter(int64_t slot, const First<D>& first) override {
    firsts_[slot - first_] = first;
    return {1, 1};
  }
  bool wants(int met) const override { return fields_[met].data.kind != Kind::none; }
  void mark(int64_t slot, uint32_t mark, uint32_t beyond) override { marks_[slot] = mark, beyond_[slot] = beyond; }

  void take(int met, const List<T, D>& list, int64_t n) override {
    const double* const values = fields_.at(met, list, n);
    for (int64_t e = 0; e < list.count; ++e) {
      const bool in_first = met == in_domain && p_.walk.gradient && list.step()[e] == 0;
      sums_[(in_first ? 2 : met) * (last_ - first_) + list.slot()[e] - first_] += list.weight()[e] * values[e];
    }
  }

  // Converts values and gradients of U to those of u, README (8).
  void finish(const walk::Slots& slots, const double* slopes) const {
    const int64_t n = last_ - first_;
    for (int64_t k = 0; k < n; ++k) {
      const double later = sums_[k] + sums_[n + k], source = sums_[2 * n + k];
      if (!p_.walk.gradient) {
        values_[first_ + k] = later;
        continue;
      }
      const First<D>& first = firsts_[k];
      const double value = first.along * later + first.source * source, extent = fields_[0].frame[D];
      const double* const slope = slopes + slots.point(first_ + k) * D;
      values_[first_ + k] = value;
      for (int i = 0; i < D; ++i)
        values_[(1 + i) * slots_ + first_ + k] = (first.outward[i] * later + first.toward[i] * source) / extent - value * slope[i];
    }
  }

 private:
  const Media<T>& p_;
  const Fields<V, D> fields_;
  const int64_t first_, last_, slots_;
  double* const values_;
  uint32_t *const marks_, *const beyond_;
  const Scratch<double> sums_;
  const Scratch<First<D>> firsts_;
};

// Adds the walks' shares of the gradients, walk README (7), (8).
template <class V, int D>
class Shares final : public Sink<Element<V>, D> {
 public:
  using T = Element<V>;
  Shares(const MediaAdjoint<T>& q, int64_t instance, const walk::Slots& slots, double* ddirichlet, double* dsource)
      : p_(q.forward.walk),
        slots_(slots),
        grad_(q.grad + instance * p_.N * p_.nodes() * p_.channels()),
        slopes_(q.forward.slopes + instance * p_.N * D),
        fields_(p_, instance, {&p_.dirichlet, &p_.source}, 0),
        adjoints_{{fields_[0], ddirichlet}, {fields_[1], dsource}},
        shares_(walk::kCallPoints + kForCalls + kWidth<V>) {}

  // A walk's share of its node's gradient.
  Factors begin(int64_t slot) override {
    const walk::NodeGradient node = node_of(slot);
    const double share = node.channels[0] / node.walks;
    return {share, share};
  }
  Factors enter(int64_t slot, const First<D>& first) override {
    const walk::NodeGradient node = node_of(slot);
    const double *const grad = node.channels, *const slope = slopes_ + slots_.point(slot) * D;
    double value = grad[0];
    Factors factors{0, 0};
    for (int i = 0; i < D; ++i) {
      const double g = grad[1 + i] / fields_[0].frame[D];
      factors.later += g * first.outward[i], factors.first += g * first.toward[i];
      value -= grad[1 + i] * slope[i];
    }
    return {(factors.later + value * first.along) / node.walks, (factors.first + value * first.source) / node.walks};
  }
  bool wants(int met) const override { return adjoints_[met].wanted(); }
  void mark(int64_t, uint32_t, uint32_t) override {}
  void take(int met, const List<T, D>& list, int64_t n) override {
    for (int64_t e = 0; e < n; ++e) shares_[e] = T(list.weight()[e]);
    fields_.add_gradient(met, adjoints_[met], list, shares_, n);
  }

 private:
  walk::NodeGradient node_of(int64_t slot) const { return gradient_of_node(p_, grad_, slots_.point(slot), slots_.walk(slot)); }

  const walk::Walk<T>& p_;
  const walk::Slots slots_;
  const double *const grad_, *const slopes_;
  const Fields<V, D> fields_;
  data::FieldAdjoint<V, D> adjoints_[kMet];
  const Scratch<T> shares_;
};

// Runs slots [first, last) of one instance with a sink constructed from `arguments`, then calls f(sink).
template <template <class, int> class Own, class T, class F, class... Args>
void run_team(const Media<T>& p, int64_t instance, const walk::Slots& slots, const double* roots, int64_t first, int64_t last, const F& f,
              const Args&... arguments) {
  using V = Lanes<T>;
  walk::with_inside<V>(p.walk, instance, [&](const auto& domain) {
    using Of = typename std::remove_const<typename std::remove_reference<decltype(domain)>::type>::type;
    Own<V, Of::D> sink(arguments...);
    Team<V, Of::D>(p, instance, slots, DomainOf<V, Of>(domain), roots, sink).run(first, last);
    f(sink);
  });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::media
