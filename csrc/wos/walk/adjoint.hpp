// The gradient of the walks' means in the numbers of their data: the same paths again, and no number a walk is stored. README (7), (8).
#pragma once
#include "core/run/partial_sums.hpp"
#include "wos/data/field.hpp"
#include "wos/walk/walker.hpp"

namespace quatrefoil::wos::walk {
inline namespace QF_ISA {

constexpr int64_t kParts = 64;          // partial sums of a gradient at most, by sizes alone: the same bits for any number of threads
constexpr int64_t kPartWalks = 1024;    // of a part at least
constexpr int64_t kPieceWalks = 16384;  // of a part between two looks for an interrupt

// A sink of a Team: what a walk adds to the gradients is its share of its node's, grad / size.
template <class V, int D>
class Shares {
 public:
  using T = Element<V>;
  static constexpr int W = kWidth<V>;
  const bool wants_sources;
  const int64_t patience = 1, iterations = kIterations;

  Shares(const WalkAdjoint<T>& q, int64_t instance, const Slots& slots, double* ddirichlet, double* dsource)
      : wants_sources(dsource != nullptr),
        q_(q),
        slots_(slots),
        nodes_(q.forward.nodes()),
        grad_(q.grad + instance * q.forward.N * nodes_),
        boundary_{q.forward.dirichlet, instance, q.forward.first_instance, q.forward.frame + instance * (D + 2)},
        source_{q.forward.source, instance, q.forward.first_instance, q.forward.frame + instance * (D + 2)},
        of_boundary_(boundary_, ddirichlet),
        of_source_(source_, dsource),
        shares_(most_ends<V>(iterations)) {
    for (int l = 0; l < W; ++l) lane_share_[l] = 0;
  }

  void begin(int lane, int64_t, int64_t point, int64_t walk) { lane_share_[lane] = T(share(point, walk)); }
  QF_HD V weigh(V weight) const { return weight * load<V>(lane_share_) * T(source_.frame[D] * source_.frame[D]); }
  void mark(int64_t, uint32_t) {}

  void sources(const Events<T, D>& events, const Ends<T, D>&, int64_t) {
    if (wants_sources && events.iterations) of_source_.add(events.x, events.weight, events.iterations * W);
  }

  void close(const Ends<T, D>& ends) {
    if (!of_boundary_.wanted()) return;
    const int64_t n = ends.count, padded = (n + W - 1) / W * W;
    for (int64_t e = 0; e < n; ++e) {
      const double here = share(slots_.point(ends.slot[e]), slots_.walk(ends.slot[e]));
      shares_[e] = T(here);
      if (boundary_.data.kind == data::Kind::per_vertex) of_boundary_.add_on_piece(ends.primitive[e], ends.place, e, here);
    }
    for (int64_t e = n; e < padded; ++e) shares_[e] = 0;
    if (boundary_.data.kind != data::Kind::per_vertex) of_boundary_.add(ends.x, shares_, padded);
  }

 private:
  double share(int64_t point, int64_t walk) const {
    const Walk<T>& p = q_.forward;
    const int64_t end = p.first_walk + p.walks;
    int64_t at = p.first_walk, node = 0, size = node_size(at, end);
    for (; at + size <= walk; size = node_size(at, end)) at += size, ++node;
    return grad_[point * nodes_ + node] / double(size);
  }

  const WalkAdjoint<T>& q_;
  const Slots slots_;
  const int64_t nodes_;
  const double* const grad_;
  const data::Field<V, D> boundary_, source_;
  data::FieldAdjoint<V, D> of_boundary_, of_source_;
  alignas(64) T lane_share_[W];
  Scratch<T> shares_;
};

// Partial sums of one gradient: `parts` for every instance, each as long as an instance has numbers.
class Parts {
 public:
  Parts(const data::Data& data, int64_t B, int64_t parts, double* out)
      : data_(data), B_(B), parts_(parts), length_(longest(data, B)), out_(out), sums_(out ? B * parts * length_ : 0) {
    if (out) set_zero<double>(sums_, B * parts * length_);
  }
  double* operator()(int64_t instance, int64_t part) const { return out_ ? sums_ + (instance * parts_ + part) * length_ : nullptr; }
  // In their order: shared numbers collect from all instances.
  void add_up() const {
    for (int64_t b = 0; out_ && b < B_; ++b)
      add_parts<double>(parts_, sums_ + b * parts_ * length_, length_, data_.count(b), out_ + data_.begin(b));
  }

 private:
  static int64_t longest(const data::Data& data, int64_t B) {
    int64_t most = 0;
    for (int64_t b = 0; b < B; ++b) most = max(most, data.count(b));
    return most;
  }
  const data::Data& data_;
  const int64_t B_, parts_, length_;
  double* const out_;
  Scratch<double> sums_;
};

// Costs a forward run without its reduction. Memory: kParts partial sums of the numbers at most, whatever the number of walks.
template <class T>
void walk_adjoint(const WalkAdjoint<T>& q) {
  const Walk<T>& p = q.forward;
  const int64_t total = p.N * p.walks;
  if (p.B * total == 0 || (!q.ddirichlet && !q.dsource)) return;
  const int64_t parts = max<int64_t>(1, min(kParts / p.B, total / kPartWalks));
  const Parts of_boundary(p.dirichlet, p.B, parts, q.ddirichlet), of_source(p.source, p.B, parts, q.dsource);
  const Slots slots{0, p.N, p.first_walk, p.walks};
  const int64_t longest = (total + parts - 1) / parts;
  for (int64_t done = 0; done < longest; done += kPieceWalks)
    parallel_for(p.B * parts, p.threads, double(min(kPieceWalks, longest)) * kUsualSteps * kStepNs, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        const int64_t instance = item / parts, part = item % parts;
        const int64_t first = total * part / parts + done, last = min(total * (part + 1) / parts, first + kPieceWalks);
        if (first >= last) continue;
        run_team<Shares>(p, instance, slots, first, last, q, instance, slots, of_boundary(instance, part), of_source(instance, part));
      }
    });
  of_boundary.add_up();
  of_source.add_up();
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
