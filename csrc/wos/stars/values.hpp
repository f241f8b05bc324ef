// What walks on stars add up to: their values, and the gradients of their means in the numbers of the data, for which they walk again.
#pragma once
#include "wos/stars/walker.hpp"
#include "wos/walk/adjoint.hpp"

namespace quatrefoil::wos::stars {
inline namespace QF_ISA {

// Which data a list of points is for.
constexpr int data_of(int met) { return met == kEntered ? int(in_domain) : met; }

// The data of one instance, and where it is evaluated.
template <class V, int D>
class Fields {
 public:
  using T = Element<V>;
  static constexpr int64_t kMost = walk::kCallPoints + 3 * kWidth<V>;

  Fields(const Stars<T>& p, int64_t instance)
      : fields_{of(p, instance, 0), of(p, instance, 1), of(p, instance, 2), of(p, instance, 3)}, values_(2 * kMost), absolute_(D * kMost) {}
  const data::Field<V, D>& operator[](int met) const { return fields_[data_of(met)]; }
  bool known(int met) const { return (*this)[met].data.kind != data::Kind::none; }

  // The values at the points of a list.
  const double* at(int met, const List<T, D>& list) {
    const data::Field<V, D>& field = (*this)[met];
    if (field.data.kind == data::Kind::per_vertex) {
      const T* place[D - 1];
      for (int i = 0; i < D - 1; ++i) place[i] = list.place(i);
      for (int64_t e = 0; e < list.count; ++e) values_[e] = field.on_piece(list.primitive()[e], place, e);
      return values_;
    }
    const T* x[D];
    for (int i = 0; i < D; ++i) x[i] = list.x(i);
    field.evaluate(x, padded(list), static_cast<double*>(values_), absolute_, values_ + kMost);
    return values_;
  }
  static int64_t padded(const List<T, D>& list) { return (list.count + kWidth<V> - 1) / kWidth<V> * kWidth<V>; }

 private:
  static data::Field<V, D> of(const Stars<T>& p, int64_t instance, int met) {
    return {p.data(met), instance, p.walk.first_instance, p.walk.frame + (D + 2) * instance};
  }
  const data::Field<V, D> fields_[kMet];
  Scratch<double> values_, absolute_;
};

// `values` and `marks` have a number a slot of [first, last), a channel of the values begins every `slots` numbers; each
// kind of data is added up by itself, in the order of the walk's steps, so that no other walk has a say in how sums are rounded.
template <class V, int D>
class Values final : public Sink<Element<V>, D> {
 public:
  using T = Element<V>;
  Values(const Stars<T>& p, int64_t instance, int64_t first, int64_t last, double* values, int64_t slots, uint32_t* marks)
      : fields_(p, instance),
        pairs_(p.walk.gradient),
        scale_(1 / p.walk.frame[(D + 2) * instance + D]),
        first_(first),
        last_(last),
        slots_(slots),
        values_(values),
        marks_(marks),
        sums_(kLists * (last - first)),
        firsts_(pairs_ ? kFirst * (last - first) : 0) {
    for (int64_t i = 0; i < kLists * (last - first); ++i) sums_[i] = 0;
  }
  double begin(int64_t slot) override {  // without a first ball: the value is that of any walk, the gradient is not known
    for (int j = 0; pairs_ && j < kFirst; ++j) first_ball(slot, j) = j == 0 ? 1 : j == 1 ? 0 : __builtin_nan("");
    return 1;
  }
  Entered enter(int64_t slot, const walk::First<T, D>& at) override {
    first_ball(slot, 0) = double(at.along), first_ball(slot, 1) = double(at.source);
    for (int i = 0; i < D; ++i)  // the gradient is that of absolute coordinates
      first_ball(slot, 2 + i) = double(at.outward[i]) * scale_, first_ball(slot, 2 + D + i) = double(at.toward[i]) * scale_;
    return {1, 1};
  }
  bool wants(int met) const override { return fields_.known(met); }
  void mark(int64_t slot, uint32_t mark) override { marks_[slot] = mark; }
  void take(int met, const List<T, D>& list) override {
    const double* const values = fields_.at(met, list);
    double* const sums = sums_ + met * (last_ - first_);
    for (int64_t e = 0; e < list.count; ++e) sums[list.slot()[e] - first_] += double(list.weight()[e]) * values[e];
  }
  void finish() {
    const int64_t n = last_ - first_;
    for (int64_t i = 0; i < n; ++i) {
      const double found = (sums_[i] + sums_[n + i]) + (sums_[2 * n + i] + sums_[3 * n + i]), here = sums_[kEntered * n + i];
      values_[first_ + i] = found;
      if (!pairs_) continue;
      const double* const ball = firsts_ + kFirst * i;
      values_[first_ + i] = ball[0] * found + ball[1] * here;
      for (int c = 0; c < D; ++c) values_[(1 + c) * slots_ + first_ + i] = ball[2 + c] * found + ball[2 + D + c] * here;
    }
  }

 private:
  static constexpr int kFirst = 2 + 2 * D;  // numbers of a First
  double& first_ball(int64_t slot, int j) { return firsts_[kFirst * (slot - first_) + j]; }

  Fields<V, D> fields_;
  const bool pairs_;
  const double scale_;
  const int64_t first_, last_, slots_;
  double* const values_;
  uint32_t* const marks_;
  const Scratch<double> sums_;
  Scratch<double> firsts_;
};

// Walk README (7), (8), for four kinds of data.
template <class V, int D>
class Shares final : public Sink<Element<V>, D> {
 public:
  using T = Element<V>;
  Shares(const StarsAdjoint<T>& q, int64_t instance, const walk::Slots& slots, double* const* to)
      : p_(q.forward.walk),
        slots_(slots),
        grad_(q.grad + instance * p_.N * p_.nodes() * p_.channels()),
        scale_(1 / p_.frame[(D + 2) * instance + D]),
        fields_(q.forward, instance),
        adjoints_{{fields_[0], to[0]}, {fields_[1], to[1]}, {fields_[2], to[2]}, {fields_[3], to[3]}} {}
  // Its share of the gradient in its node.
  double begin(int64_t slot) override {
    double size;
    return channels(slot, size)[0] / size;
  }
  Entered enter(int64_t slot, const walk::First<T, D>& at) override {
    double size;
    const double* const grad = channels(slot, size);
    Entered found{grad[0] * double(at.source), grad[0] * double(at.along)};
    for (int i = 0; i < D; ++i) {
      found.here += grad[1 + i] * scale_ * double(at.toward[i]);
      found.after += grad[1 + i] * scale_ * double(at.outward[i]);
    }
    return {found.here / size, found.after / size};
  }
  bool wants(int met) const override { return adjoints_[met].wanted(); }
  void mark(int64_t, uint32_t) override {}
  void take(int met, const List<T, D>& list) override {
    data::FieldAdjoint<V, D>& adjoint = adjoints_[data_of(met)];
    if (fields_[met].data.kind == data::Kind::per_vertex) {
      const T* place[D - 1];
      for (int i = 0; i < D - 1; ++i) place[i] = list.place(i);
      for (int64_t e = 0; e < list.count; ++e) adjoint.add_on_piece(list.primitive()[e], place, e, double(list.weight()[e]));
      return;
    }
    const T* x[D];
    for (int i = 0; i < D; ++i) x[i] = list.x(i);
    adjoint.add(x, list.weight(), Fields<V, D>::padded(list));
  }
  void finish() const {}

 private:
  // The gradients in the channels of its node, and how many walks that has.
  const double* channels(int64_t slot, double& walks) const {
    const int64_t group = p_.group(), sample = slots_.walk(slot) / group, end = (p_.first_walk + p_.walks) / group;
    int64_t at = p_.first_walk / group, node = 0, size = walk::node_size(at, end);
    for (; at + size <= sample; size = walk::node_size(at, end)) at += size, ++node;
    walks = double(size * group);
    return grad_ + (slots_.point(slot) * p_.nodes() + node) * p_.channels();
  }
  const walk::Walk<T>& p_;
  const walk::Slots slots_;
  const double* const grad_;
  const double scale_;
  const Fields<V, D> fields_;
  data::FieldAdjoint<V, D> adjoints_[kMet];
};

// Costs a forward run without its reduction. Memory: walk::kParts partial sums of the numbers at most, whatever the number of walks.
template <class T>
void stars_adjoint(const StarsAdjoint<T>& given) {
  const walk::Walk<T>& p = given.forward.walk;
  const int64_t total = p.N * p.walks;
  if (p.B * total == 0) return;
  const walk::Units units(given.grad, p.B, p.N * p.nodes() * p.channels());
  StarsAdjoint<T> q = given;
  q.grad = units.grad();
  const int64_t parts = max<int64_t>(1, min(walk::kParts / p.B, total / walk::kPartWalks));
  const walk::Parts sums[kMet] = {{q.forward.data(0), p.B, parts, q.numbers[0]},
                                  {q.forward.data(1), p.B, parts, q.numbers[1]},
                                  {q.forward.data(2), p.B, parts, q.numbers[2]},
                                  {q.forward.data(3), p.B, parts, q.numbers[3]}};
  const walk::Slots slots{0, p.N, p.first_walk, p.walks};
  walk::in_pieces(p, parts, kUsualSteps * kStepNs, [&](int64_t instance, int64_t part, int64_t first, int64_t last) {
    double* const to[kMet] = {sums[0](instance, part), sums[1](instance, part), sums[2](instance, part), sums[3](instance, part)};
    run_team<Shares>(q.forward, instance, slots, first, last, q, instance, slots, static_cast<double* const*>(to));
  });
  for (const walk::Parts& each : sums) each.add_up(units);
}

// Every walk of a round, as walk_round of the walk.
template <class T>
void stars_round(const Stars<T>& q, const walk::Round& r, double* values, uint32_t* marks) {
  const walk::Walk<T>& p = q.walk;
  const int64_t total = r.total();
  walk::in_tasks(r, p.threads, false, kUsualSteps * kStepNs, [&](int64_t at, int64_t first, int64_t last) {
    double* const own = values + at * total * p.channels();
    run_team<Values>(q, r.instance + at, r.slots, first, last, q, r.instance + at, first, last, own, total, marks + at * total);
  });
}

template <class T>
void stars(const Stars<T>& q) {
  walk::in_rounds(q.walk, [&](const walk::Round& r, double* values, uint32_t* marks) { stars_round(q, r, values, marks); });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::stars
