// What walks on stars add up to: their values, and the gradients of their means in the numbers of the data, for which they walk again.
#pragma once
#include "wos/stars/walker.hpp"
#include "wos/walk/adjoint.hpp"

namespace quatrefoil::wos::stars {
inline namespace QF_ISA {

// The data of one instance, and where it is evaluated.
template <class V>
class Fields {
 public:
  using T = Element<V>;
  static constexpr int64_t kMost = walk::kCallPoints + 3 * kWidth<V>;

  Fields(const Stars<T>& p, int64_t instance)
      : fields_{of(p, instance, 0), of(p, instance, 1), of(p, instance, 2), of(p, instance, 3)}, values_(2 * kMost), absolute_(2 * kMost) {}
  const data::Field<V, 2>& operator[](int met) const { return fields_[met]; }
  bool known(int met) const { return fields_[met].data.kind != data::Kind::none; }

  // The values at the points of a list.
  const double* at(int met, const List<T>& list) {
    const data::Field<V, 2>& field = fields_[met];
    if (field.data.kind == data::Kind::per_vertex) {
      const T* const place[1] = {list.place()};
      for (int64_t e = 0; e < list.count; ++e) values_[e] = field.on_piece(list.primitive()[e], place, e);
      return values_;
    }
    const T* const x[2] = {list.x(0), list.x(1)};
    field.evaluate(x, padded(list), static_cast<double*>(values_), absolute_, values_ + kMost);
    return values_;
  }
  static int64_t padded(const List<T>& list) { return (list.count + kWidth<V> - 1) / kWidth<V> * kWidth<V>; }

 private:
  static data::Field<V, 2> of(const Stars<T>& p, int64_t instance, int met) {
    return {p.data(met), instance, p.walk.first_instance, p.walk.frame + 4 * instance};
  }
  const data::Field<V, 2> fields_[kMet];
  Scratch<double> values_, absolute_;
};

// A sink of a Team. `values` and `marks` have a number a slot of [first, last); each kind of data is added up by itself, in the order of
// the walk's steps, so that no other walk has a say in how sums are rounded.
template <class V>
class Values {
 public:
  using T = Element<V>;
  Values(const Stars<T>& p, int64_t instance, int64_t first, int64_t last, double* values, uint32_t* marks)
      : fields_(p, instance), first_(first), last_(last), values_(values), marks_(marks), sums_(kMet * (last - first)) {
    for (int64_t i = 0; i < kMet * (last - first); ++i) sums_[i] = 0;
  }
  double begin(int64_t) const { return 1; }
  bool wants(int met) const { return fields_.known(met); }
  void mark(int64_t slot, uint32_t mark) { marks_[slot] = mark; }
  void take(int met, const List<T>& list) {
    const double* const values = fields_.at(met, list);
    double* const sums = sums_ + met * (last_ - first_);
    for (int64_t e = 0; e < list.count; ++e) sums[list.slot()[e] - first_] += double(list.weight()[e]) * values[e];
  }
  void finish() {
    const int64_t n = last_ - first_;
    for (int64_t i = 0; i < n; ++i) values_[first_ + i] = (sums_[i] + sums_[n + i]) + (sums_[2 * n + i] + sums_[3 * n + i]);
  }

 private:
  Fields<V> fields_;
  const int64_t first_, last_;
  double* const values_;
  uint32_t* const marks_;
  const Scratch<double> sums_;
};

// A sink of a Team: walk README (7), (8), for four kinds of data.
template <class V>
class Shares {
 public:
  using T = Element<V>;
  Shares(const StarsAdjoint<T>& q, int64_t instance, const walk::Slots& slots, double* const (&to)[kMet])
      : p_(q.forward.walk),
        slots_(slots),
        grad_(q.grad + instance * p_.N * p_.nodes()),
        fields_(q.forward, instance),
        adjoints_{{fields_[0], to[0]}, {fields_[1], to[1]}, {fields_[2], to[2]}, {fields_[3], to[3]}} {}
  // Its share of the gradient in its node.
  double begin(int64_t slot) const {
    const int64_t walk = slots_.walk(slot), end = p_.first_walk + p_.walks;
    int64_t at = p_.first_walk, node = 0, size = walk::node_size(at, end);
    for (; at + size <= walk; size = walk::node_size(at, end)) at += size, ++node;
    return grad_[slots_.point(slot) * p_.nodes() + node] / double(size);
  }
  bool wants(int met) const { return adjoints_[met].wanted(); }
  void mark(int64_t, uint32_t) const {}
  void take(int met, const List<T>& list) {
    if (fields_[met].data.kind == data::Kind::per_vertex) {
      const T* const place[1] = {list.place()};
      for (int64_t e = 0; e < list.count; ++e) adjoints_[met].add_on_piece(list.primitive()[e], place, e, double(list.weight()[e]));
      return;
    }
    const T* const x[2] = {list.x(0), list.x(1)};
    adjoints_[met].add(x, list.weight(), Fields<V>::padded(list));
  }

 private:
  const walk::Walk<T>& p_;
  const walk::Slots slots_;
  const double* const grad_;
  const Fields<V> fields_;
  data::FieldAdjoint<V, 2> adjoints_[kMet];
};

// Costs a forward run without its reduction. Memory: walk::kParts partial sums of the numbers at most, whatever the number of walks.
template <class T>
void stars_adjoint(const StarsAdjoint<T>& q) {
  using V = Lanes<T>;
  const walk::Walk<T>& p = q.forward.walk;
  const int64_t total = p.N * p.walks;
  if (p.B * total == 0) return;
  const int64_t parts = max<int64_t>(1, min(walk::kParts / p.B, total / walk::kPartWalks));
  const walk::Parts sums[kMet] = {{q.forward.data(0), p.B, parts, q.numbers[0]},
                                  {q.forward.data(1), p.B, parts, q.numbers[1]},
                                  {q.forward.data(2), p.B, parts, q.numbers[2]},
                                  {q.forward.data(3), p.B, parts, q.numbers[3]}};
  const walk::Slots slots{0, p.N, p.first_walk, p.walks};
  walk::in_pieces(p, parts, kUsualSteps * kStepNs, [&](int64_t instance, int64_t part, int64_t first, int64_t last) {
    double* const to[kMet] = {sums[0](instance, part), sums[1](instance, part), sums[2](instance, part), sums[3](instance, part)};
    Shares<V> sink(q, instance, slots, to);
    Team<V, Shares<V>>(q.forward, instance, slots, sink).run(first, last);
  });
  for (const walk::Parts& each : sums) each.add_up();
}

// Every walk of a round, as walk_round of the walk.
template <class T>
void stars_round(const Stars<T>& q, const walk::Round& r, double* values, uint32_t* marks) {
  using V = Lanes<T>;
  const int64_t total = r.total();
  walk::in_tasks(r, q.walk.threads, false, kUsualSteps * kStepNs, [&](int64_t at, int64_t first, int64_t last) {
    Values<V> sink(q, r.instance + at, first, last, values + at * total, marks + at * total);
    Team<V, Values<V>>(q, r.instance + at, r.slots, sink).run(first, last);
    sink.finish();
  });
}

template <class T>
void stars(const Stars<T>& q) {
  walk::in_rounds(q.walk, [&](const walk::Round& r, double* values, uint32_t* marks) { stars_round(q, r, values, marks); });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::stars
