// Shared by walks on stars and through media: the queue of walks, lists of points where data is evaluated, and gradients of nodes.
#pragma once
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

// One instance's data of several kinds, with memory to evaluate them at up to `capacity` points, a multiple of the lane count.
template <class V, int D, int kinds>
class Fields {
 public:
  using T = Element<V>;
  Fields(const Walk<T>& p, int64_t instance, const data::Data* const (&data)[kinds], int64_t capacity)
      : values_(2 * capacity), absolute_(D * capacity) {
    for (int k = 0; k < kinds; ++k) fields_[k] = {*data[k], instance, p.first_instance, p.frame + (D + 2) * instance};
  }
  const data::Field<V, D>& operator[](int kind) const { return fields_[kind]; }
  bool at_vertices(int kind) const { return fields_[kind].data.kind == data::Kind::per_vertex; }
  // The values at the n points of a padded list.
  template <class Points>
  const double* at(int kind, const Points& list, int64_t n) const {
    if (at_vertices(kind)) {
      const auto corner_weights = list.corner_weights();
      for (int64_t e = 0; e < list.count; ++e) values_[e] = fields_[kind].on_primitive(list.primitive()[e], corner_weights.column, e);
    } else {
      const auto x = list.points();
      fields_[kind].evaluate(x.column, n, static_cast<double*>(values_), absolute_, values_ + n);
    }
    return values_;
  }
  // Adds the gradient of the values at a list to the adjoint of this kind. `share` has the weights in T.
  template <class Points>
  void add_gradient(int kind, data::FieldAdjoint<V, D>& adjoint, const Points& list, const T* share, int64_t n) const {
    if (at_vertices(kind)) {
      const auto corner_weights = list.corner_weights();
      for (int64_t e = 0; e < list.count; ++e)
        adjoint.add_on_primitive(list.primitive()[e], corner_weights.column, e, double(list.weight()[e]));
    } else {
      const auto x = list.points();
      adjoint.add(x.column, share, n);
    }
  }

 private:
  data::Field<V, D> fields_[kinds];
  const Scratch<double> values_, absolute_;
};

// The gradients in a node's channels, and its number of walks.
struct NodeGradient {
  const double* channels;
  double walks;
};
// The gradient of a walk's node. grad (N, nodes, channels) belongs to one instance.
template <class T>
NodeGradient gradient_of_node(const Walk<T>& p, const double* grad, int64_t point, int64_t walk) {
  const int64_t group = p.group();
  const auto [node, size] = node_of(walk / group, p.first_walk / group, (p.first_walk + p.walks) / group);
  return {grad + (point * p.nodes() + node) * p.channels(), double(size * group)};
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
