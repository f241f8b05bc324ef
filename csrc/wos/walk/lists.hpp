// Shared by walks on stars and through media: the queue of walks, lists of points where data is evaluated, values and gradients.
#pragma once
#include "wos/data/sides.hpp"
#include "wos/walk/adjoint.hpp"

namespace quatrefoil::wos::walk {
inline namespace QF_ISA {

// Hands out slots [first, last), skipping points outside the domain.
template <class T, int D>
class Queue {
 public:
  Queue(const Walk<T>& p, int64_t instance, const Slots& slots) : slots_(slots), start_(p.start + instance * p.N * D) {}
  void begin(int64_t first, int64_t last) { next_ = first, last_ = last; }
  // The next slot, or -1 after the last; `at` becomes the start of its walk.
  int64_t next(const T*& at) {
    for (; next_ < last_; next_ = (next_ / slots_.walks + 1) * slots_.walks) {
      at = start_ + slots_.point(next_) * D;
      if (at[0] == at[0]) return next_++;
    }
    return -1;
  }

 private:
  const Slots slots_;
  const T* const start_;
  int64_t next_ = 0, last_ = 0;
};

// Points where data of one kind is evaluated, each with its weight and the slot of its walk.
template <class T, int D, class Weight>
class List {
 public:
  template <int n>
  struct Columns {
    const T* column[n];
  };

  explicit List(int64_t capacity) : capacity_(capacity), numbers_((2 * D - 1) * capacity), weights_(capacity), integers_(3 * capacity) {}
  T* x(int i) const { return numbers_ + i * capacity_; }
  Weight* weight() const { return weights_; }
  int64_t* slot() const { return integers_; }
  int64_t* step() const { return integers_ + capacity_; }
  int64_t* primitive() const { return integers_ + 2 * capacity_; }
  Columns<D> points() const { return columns<D>(0); }
  Columns<D - 1> corner_weights() const { return columns<D - 1>(D); }
  void add(const T (&at)[D], Weight weight_, int64_t slot_, int64_t step_ = 0, int64_t facet = 0, const T (&corner_weights)[D - 1] = {}) {
    for (int i = 0; i < D; ++i) x(i)[count] = at[i];
    for (int i = 0; i < D - 1; ++i) numbers_[(D + i) * capacity_ + count] = corner_weights[i];
    weight()[count] = weight_, slot()[count] = slot_, step()[count] = step_, primitive()[count] = facet;
    ++count;
  }
  // Pads the last vector with copies of the first point, with weight 0. Returns the padded length.
  int64_t pad(int lanes) const {
    const int64_t n = (count + lanes - 1) / lanes * lanes;
    for (int64_t e = count; e < n; ++e) {
      for (int i = 0; i < D; ++i) x(i)[e] = x(i)[0];
      weight()[e] = 0;
    }
    return n;
  }
  int64_t count = 0;

 private:
  template <int n>
  Columns<n> columns(int first) const {
    Columns<n> columns;
    for (int i = 0; i < n; ++i) columns.column[i] = x(first + i);
    return columns;
  }
  const int64_t capacity_;
  const Scratch<T> numbers_;
  const Scratch<Weight> weights_;
  const Scratch<int64_t> integers_;
};

constexpr int kEntered = kMet;  // list of the source points in the first balls of pairs
constexpr int kLists = kMet + 1;
constexpr int kind_of(int list) { return list == kEntered ? int(in_domain) : list; }

// The data of one instance's right-hand sides, with memory to evaluate them at up to `capacity` points, a multiple of the lane count.
template <class V, int D>
class Fields {
 public:
  using T = Element<V>;
  Fields(const Walk<T>& p, int64_t instance, int64_t capacity)
      : p_(p), instance_(instance), values_(2 * capacity), absolute_(D * capacity), rounded_(capacity) {}
  // The values of a right-hand side at the n points of a padded list.
  template <class Points>
  const double* at(int kind, int64_t side, const Points& list, int64_t n) const {
    const data::Field<V, D> field = of(kind, side);
    if (field.data.kind == data::Kind::per_vertex) {
      const auto corner_weights = list.corner_weights();
      for (int64_t e = 0; e < list.count; ++e) values_[e] = field.on_primitive(list.primitive()[e], corner_weights.column, e);
    } else {
      const auto x = list.points();
      field.evaluate(x.column, n, static_cast<double*>(values_), absolute_, values_ + n);
    }
    return values_;
  }
  // Adds the gradient of the sum of values (n,) times `shares` to `to`.
  template <class Points>
  void add_gradient(int kind, int64_t side, const Points& list, const double* shares, int64_t n, double* to) const {
    const data::Field<V, D> field = of(kind, side);
    data::FieldAdjoint<V, D> adjoint(field, to);
    if (field.data.kind == data::Kind::per_vertex) {
      const auto corner_weights = list.corner_weights();
      for (int64_t e = 0; e < list.count; ++e) adjoint.add_on_primitive(list.primitive()[e], corner_weights.column, e, shares[e]);
    } else {
      const auto x = list.points();
      for (int64_t e = 0; e < n; ++e) rounded_[e] = e < list.count ? T(shares[e]) : 0;
      adjoint.add(x.column, rounded_, n);
    }
  }

 private:
  data::Field<V, D> of(int kind, int64_t side) const {
    return {p_.data(kind), instance_ * p_.nrhs + side, p_.first_data, p_.frame + (D + 2) * instance_};
  }
  const Walk<T>& p_;
  const int64_t instance_;
  const Scratch<double> values_, absolute_;
  const Scratch<T> rounded_;
};

// Receives the points where walks of slots [first, last) evaluate data. `slopes`: media (8), grad alpha / (2 alpha) at the starts (N, D),
// or null.
template <class T, int D, class Weight>
class ListSink {
 public:
  // Called when a walk starts. Without a first ball, a walk of a pair has the value of a single walk, and an unknown gradient.
  void begin(int64_t slot) {
    for (int c = 0; pairs_ && c <= D; ++c) later(slot)[c] = c ? __builtin_nan("") : 1, here(slot)[c] = 0;
  }
  // Receives the first ball of a walk of a pair, in scaled coordinates.
  template <class F>
  void enter(int64_t slot, const First<F, D>& at) {
    double *const after = later(slot), *const inside = here(slot);
    const double* const slope = slopes_ ? slopes_ + slots_.point(slot) * D : nullptr;
    after[0] = double(at.along), inside[0] = double(at.source);
    for (int i = 0; i < D; ++i) {
      after[1 + i] = double(at.outward[i]) * scale_ - (slope ? after[0] * slope[i] : 0);
      inside[1 + i] = double(at.toward[i]) * scale_ - (slope ? inside[0] * slope[i] : 0);
    }
  }
  virtual bool wants(int kind) const = 0;  // whether that kind of data is needed
  // Called when a walk ends. mark: steps and flags; beyond: jumps beyond a medium's bound.
  virtual void mark(int64_t slot, uint32_t mark, uint32_t beyond) = 0;
  // Receives a list of `count` points, padded to n, in the order of each walk's steps. list is a kind of data, or kEntered.
  virtual void take(int list, const List<T, D, Weight>& points, int64_t n) = 0;
  virtual void finish() {}  // called after the last walk

 protected:
  ListSink(const Walk<T>& p, int64_t instance, const Slots& slots, int64_t first, int64_t last, const double* slopes)
      : slots_(slots),
        first_(first),
        count_(last - first),
        pairs_(p.gradient),
        scale_(1 / p.frame[(D + 2) * instance + D]),
        slopes_(slopes),
        factors_(pairs_ ? 2 * (1 + D) * count_ : 0) {}
  ~ListSink() = default;
  // Factors (1 + D,) of a pair's contributions to the channels of a sample, after its first ball and in it: (13), in absolute coordinates.
  double* later(int64_t slot) const { return factors_ + 2 * (1 + D) * (slot - first_); }
  double* here(int64_t slot) const { return later(slot) + 1 + D; }

  const Slots slots_;
  const int64_t first_, count_;
  const bool pairs_;

 private:
  const double scale_;
  const double* const slopes_;
  const Scratch<double> factors_;
};

// Sums over the points of lists for the right-hand sides of one kind of data that fill whole vectors, one right-hand side per lane.
template <class V, int D>
class ListSides {
 public:
  using T = Element<V>;
  static constexpr int64_t W = kWidth<V>, kPoints = 256;  // points whose values are in the L1 or L2 cache

  ListSides(const Walk<T>& p, int64_t instance, int kind)
      : sides_(p.data(kind), instance * p.nrhs, p.nrhs), nrhs_(p.nrhs), values_(sides_.count() ? (kPoints + data::kTogether) * W : 0) {}
  int64_t count() const { return sides_.count(); }
  // Adds to sums[(slot - first) nrhs + side].
  template <class Points>
  void add(const Points& points, int64_t first, double* sums) const {
    const auto columns = points.points();
    for (int64_t begin = 0; count() && begin < points.count; begin += kPoints) {
      const int64_t n = min(kPoints, points.count - begin);
      const T* x[D];
      for (int i = 0; i < D; ++i) x[i] = columns.column[i] + begin;
      for (int64_t side = 0; side < count(); side += W) {
        sides_.evaluate(x, n, side, static_cast<double*>(values_));
        for (int64_t e = 0; e < n; ++e) {
          const double weight = double(points.weight()[begin + e]);
          const double* const values = values_ + e * W;
          double* const to = sums + (points.slot()[begin + e] - first) * nrhs_ + side;
          for (int64_t l = 0; l < W; ++l) to[l] += weight * values[l];
        }
      }
    }
  }

 private:
  const data::Sides<V, D> sides_;
  const int64_t nrhs_;
  const Scratch<double> values_;
};

// The values of walks: `values` (channels, total, nrhs), `marks` and `beyond` (total,), all starting at slot 0; `beyond` is null without a
// medium. Each kind of data has a separate sum, in the order of the walk's steps, so that rounding does not depend on other walks.
template <class V, int D, class Weight>
class ListValues final : public ListSink<Element<V>, D, Weight> {
 public:
  using T = Element<V>;
  ListValues(const Walk<T>& p, int64_t instance, const Slots& slots, int64_t first, int64_t last, const double* slopes, int64_t capacity,
             int64_t total, double* values, uint32_t* marks, uint32_t* beyond)
      : ListSink<T, D, Weight>(p, instance, slots, first, last, slopes),
        p_(p),
        nrhs_(p.nrhs),
        total_(total),
        fields_(p, instance, capacity),
        sides_{{p, instance, on_boundary}, {p, instance, in_domain}, {p, instance, on_neumann}, {p, instance, on_robin}},
        values_(values),
        marks_(marks),
        beyond_(beyond),
        sums_(kLists * count_ * nrhs_) {
    for (int64_t k = 0; k < kLists * count_ * nrhs_; ++k) sums_[k] = 0;
  }
  bool wants(int kind) const override { return p_.data(kind).kind != data::Kind::none; }
  void mark(int64_t slot, uint32_t mark, uint32_t beyond) override {
    marks_[slot] = mark;
    if (beyond_) beyond_[slot] = beyond;
  }
  void take(int list, const List<T, D, Weight>& points, int64_t n) override {
    double* const sums = sums_ + list * count_ * nrhs_;
    sides_[kind_of(list)].add(points, first_, sums);
    for (int64_t side = sides_[kind_of(list)].count(); side < nrhs_; ++side) {
      const double* const values = fields_.at(kind_of(list), side, points, n);
      for (int64_t e = 0; e < points.count; ++e) sums[(points.slot()[e] - first_) * nrhs_ + side] += double(points.weight()[e]) * values[e];
    }
  }
  void finish() override {
    for (int64_t slot = first_; slot < first_ + count_; ++slot)
      for (int64_t side = 0; side < nrhs_; ++side) {
        const auto sum = [&](int list) { return sums_[(list * count_ + slot - first_) * nrhs_ + side]; };
        const double later = (sum(on_boundary) + sum(in_domain)) + (sum(on_neumann) + sum(on_robin)), here = sum(kEntered);
        double* const to = values_ + slot * nrhs_ + side;
        to[0] = later;
        for (int c = 0; pairs_ && c <= D; ++c) to[c * total_ * nrhs_] = this->later(slot)[c] * later + this->here(slot)[c] * here;
      }
  }

 private:
  using ListSink<T, D, Weight>::first_;
  using ListSink<T, D, Weight>::count_;
  using ListSink<T, D, Weight>::pairs_;
  const Walk<T>& p_;
  const int64_t nrhs_, total_;
  const Fields<V, D> fields_;
  const ListSides<V, D> sides_[kMet];
  double* const values_;
  uint32_t *const marks_, *const beyond_;
  const Scratch<double> sums_;  // (kLists, slots, nrhs)
};

// (7), (8): adds the walks' shares of the nodes' gradients `grad` to one part of the sums for each kind of data.
template <class V, int D, class Weight>
class ListShares final : public ListSink<Element<V>, D, Weight> {
 public:
  using T = Element<V>;
  ListShares(const Walk<T>& p, int64_t instance, const Slots& slots, int64_t first, int64_t last, const double* slopes, int64_t capacity,
             const double* grad, const PartOf (&to)[kMet])
      : ListSink<T, D, Weight>(p, instance, slots, first, last, slopes),
        nrhs_(p.nrhs),
        of_side_(p.N * p.nodes() * p.channels()),
        grad_(grad + instance * nrhs_ * of_side_),
        fields_(p, instance, capacity),
        to_{to[0], to[1], to[2], to[3]},
        nodes_(count_),
        shares_(capacity) {
    const int64_t group = p.group(), begin = p.first_walk / group, end = begin + p.walks / group, nodes = p.nodes();
    for (int64_t k = 0; k < count_; ++k) {
      const auto [node, size] = node_of(slots.walk(first + k) / group, begin, end);
      nodes_[k] = {(slots.point(first + k) * nodes + node) * p.channels(), double(size * group)};
    }
  }
  bool wants(int kind) const override { return to_[kind](0) != nullptr; }
  void mark(int64_t, uint32_t, uint32_t) override {}
  void take(int list, const List<T, D, Weight>& points, int64_t n) override {
    for (int64_t side = 0; side < nrhs_; ++side) {
      for (int64_t e = 0; e < points.count; ++e)
        shares_[e] = double(points.weight()[e]) * share(grad_ + side * of_side_, points.slot()[e], list == kEntered);
      fields_.add_gradient(kind_of(list), side, points, shares_, n, to_[kind_of(list)](side));
    }
  }

 private:
  using ListSink<T, D, Weight>::first_;
  using ListSink<T, D, Weight>::count_;
  using ListSink<T, D, Weight>::pairs_;
  // A walk's node: the index of its first channel, and its number of walks.
  struct Node {
    int64_t at;
    double walks;
  };
  // A walk without a first ball contributes nothing to the gradient.
  double share(const double* grad, int64_t slot, bool entering) const {
    const Node& node = nodes_[slot - first_];
    if (!pairs_) return grad[node.at] / node.walks;
    const double* const factors = entering ? this->here(slot) : this->later(slot);
    double sum = 0;
    for (int c = 0; c <= D; ++c) sum += factors[c] == factors[c] ? grad[node.at + c] * factors[c] : 0;
    return sum / node.walks;
  }
  const int64_t nrhs_, of_side_;
  const double* const grad_;
  const Fields<V, D> fields_;
  const PartOf to_[kMet];
  const Scratch<Node> nodes_;
  const Scratch<double> shares_;
};

// Gradients of the nodes' means with respect to the data's parameters. Calls run(instance, slots, first, last, grad, part of each sum).
// Memory: at most kParts partial sums per gradient, for any number of walks.
template <class T, class F>
void replay(const Walk<T>& p, const double* grad, double* const (&numbers)[kMet], double walk_ns, F&& run) {
  const int64_t sides = p.sides();
  int64_t length = 0;
  for (int met = 0; met < kMet; ++met) length += numbers[met] ? Parts::longest(p.data(met), sides) : 0;
  if (sides * p.N * p.walks == 0 || length == 0) return;
  const Units units(grad, sides, p.N * p.nodes() * p.channels());
  const int64_t parts = parts_of(p, length);
  const Parts sums[kMet] = {{p.data(0), sides, parts, numbers[0]},
                            {p.data(1), sides, parts, numbers[1]},
                            {p.data(2), sides, parts, numbers[2]},
                            {p.data(3), sides, parts, numbers[3]}};
  const Slots slots{0, p.N, p.first_walk, p.walks};
  in_batches(p, parts, walk_ns, [&](int64_t instance, int64_t part, int64_t first, int64_t last) {
    const PartOf to[kMet] = {{sums[0], instance, p.nrhs, part},
                             {sums[1], instance, p.nrhs, part},
                             {sums[2], instance, p.nrhs, part},
                             {sums[3], instance, p.nrhs, part}};
    run(instance, slots, first, last, units.grad(), to);
  });
  for (const Parts& each : sums) each.add_up(units);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
