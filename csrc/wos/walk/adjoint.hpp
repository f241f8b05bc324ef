// Gradients of the walks' means with respect to the data's parameters. Replays the paths; stores nothing per walk. README (7), (8).
#pragma once
#include "core/run/partial_sums.hpp"
#include "wos/data/field.hpp"
#include "wos/walk/rounds.hpp"

namespace quatrefoil::wos::walk {
inline namespace QF_ISA {

constexpr int64_t kParts = 64;        // maximum partial sums per gradient; their number, and so the bits, depends on sizes, not on threads
constexpr int64_t kPartWalks = 1024;  // minimum walks per part
constexpr int64_t kPartNumbers = 1 << 21;  // maximum values in all parts together (16 MB): allows fewer parts for large grids
constexpr int64_t kMinParts = 8;           // this many parts are always allowed
constexpr int64_t kBatchWalks = 16384;     // walks of a part between two checks for an interrupt

// Divides the gradient of each right-hand side by a unit, a power of two: shares are summed in T, and 1e-40 underflows in float32.
class Units {
 public:
  // grad (B, each) is copied only if some unit is not 1.
  Units(const double* grad, int64_t B, int64_t each) : grad_(grad), units_(B), ordinary_(find(B, each)), scaled_(ordinary_ ? 0 : B * each) {
    for (int64_t k = 0; !ordinary_ && k < B * each; ++k) scaled_[k] = grad[k] / units_[k / each];
  }
  const double* grad() const { return ordinary_ ? grad_ : scaled_; }
  double operator[](int64_t instance) const { return units_[instance]; }

 private:
  static constexpr int64_t kOrdinary = 20;
  // Computes the units. Returns whether all are 1.
  bool find(int64_t B, int64_t each) {
    bool ordinary = true;
    for (int64_t b = 0; b < B; ++b) {
      const int64_t e = exponent(grad_ + b * each, each);
      units_[b] = e < -kOrdinary || e > kOrdinary ? power_of_two(e) : 1;
      ordinary = ordinary && units_[b] == 1;
    }
    return ordinary;
  }
  static double power_of_two(int64_t e) { return as_bits<double>((e + 1023) << 52); }
  // The exponent of the largest value. NaN and infinity are skipped: they stay the same in any unit.
  static int64_t exponent(const double* x, int64_t n) {
    int64_t max_exponent = 0;
    for (int64_t k = 0; k < n; ++k) {
      const int64_t e = as_bits<int64_t>(x[k]) >> 52 & 0x7ff;
      max_exponent = max(max_exponent, x[k] != 0 && e < 0x7ff ? max<int64_t>(e, 1) : 0);
    }
    return max_exponent ? min<int64_t>(max_exponent, 2045) - 1023 : 0;
  }
  const double* const grad_;
  Scratch<double> units_;
  const bool ordinary_;
  Scratch<double> scaled_;
};

// Partial sums of one gradient: `parts` for each of B right-hand sides, each with room for the longest gradient.
class Parts {
 public:
  Parts(const data::Data& data, int64_t B, int64_t parts, double* out)
      : data_(data), B_(B), parts_(parts), length_(longest(data, B)), out_(out), sums_(out ? B * parts * length_ : 0) {
    if (out) set_zero<double>(sums_, B * parts * length_);
  }
  double* operator()(int64_t instance, int64_t part) const { return out_ ? sums_ + (instance * parts_ + part) * length_ : nullptr; }
  static int64_t longest(const data::Data& data, int64_t B) {
    int64_t length = 0;
    for (int64_t b = 0; b < B; ++b) length = max(length, data.count(b));
    return length;
  }
  // Adds in a fixed order. A gradient shared by instances is summed over all of them.
  void add_up(const Units& units) const {
    for (int64_t b = 0; out_ && b < B_; ++b) {
      for (int64_t k = 0; units[b] != 1 && k < parts_ * length_; ++k) sums_[b * parts_ * length_ + k] *= units[b];
      in_parts(0, data_.count(b), double(parts_), [&](int64_t begin, int64_t end) {
        add_parts<double>(parts_, sums_ + b * parts_ * length_ + begin, length_, end - begin, out_ + data_.begin(b) + begin);
      });
    }
  }

 private:
  const data::Data& data_;
  const int64_t B_, parts_, length_;
  double* const out_;
  Scratch<double> sums_;
};

// The partial sums of one part for each right-hand side of an instance.
struct PartOf {
  const Parts& parts;
  int64_t instance, nrhs, part;
  double* operator()(int64_t side) const { return parts(instance * nrhs + side, part); }
};

// Adds the shares of walks to one part of `ddirichlet` and `dsource` per right-hand side. A share is the node's grad / its number of walks.
template <class V, int D>
class Shares final : public Sink<V, D> {
 public:
  using typename Sink<V, D>::T;
  using typename Sink<V, D>::I;
  using Sink<V, D>::W;
  using Sink<V, D>::wants_sources;
  using Sink<V, D>::iterations;
  using Sink<V, D>::max_ends;

  Shares(const WalkAdjoint<T>& q, int64_t instance, const PartOf& ddirichlet, const PartOf& dsource)
      : Sink<V, D>(dsource(0) != nullptr, 1, kIterations, q.forward.nrhs, squared_extent(q.forward, instance)),
        p_(q.forward),
        instance_(instance),
        nrhs_(p_.nrhs),
        nodes_(p_.nodes()),
        grad_(q.grad + instance * nrhs_ * p_.N * nodes_ * p_.channels()),
        ddirichlet_(ddirichlet),
        dsource_(dsource),
        of_channel_(nrhs_ * (1 + D) * W),
        exact_(nrhs_ * W),
        end_shares_(nrhs_ * max_ends),
        shares_(max_ends) {
    for (int64_t k = 0; k < nrhs_ * W; ++k) exact_[k] = 0;
    for (int64_t k = 0; k < nrhs_ * (1 + D) * W; ++k) of_channel_[k] = 0;
    for (int64_t side = 0; side < nrhs_; ++side)
      for (int l = 0; l < W; ++l) share(side)[l] = first_share(side)[l] = 0;
  }

  void begin(int lane, int64_t, int64_t point, int64_t walk) override {
    const int64_t sample = walk / p_.group(), first = p_.first_walk / p_.group(), end = first + p_.walks / p_.group();
    const auto [node, size] = node_of(sample, first, end);
    for (int64_t side = 0; side < nrhs_; ++side) {
      const double* const grad = grad_ + ((side * p_.N + point) * nodes_ + node) * p_.channels();
      T* const own = of_channel(side) + lane;
      for (int c = 0; c < p_.channels(); ++c) own[c * W] = T(grad[c] / double(size * p_.group()));
      share(side)[lane] = own[0];
      exact_[lane * nrhs_ + side] = grad[0] / double(size * p_.group());
    }
  }
  void enter(I lanes, const First<V, D>& at) override {
    for (int64_t side = 0; side < nrhs_; ++side) {
      const T* const own = of_channel(side);
      V after = load<V>(own) * at.along, here = load<V>(own) * at.source;
      for (int i = 0; i < D; ++i) {
        const V g = load<V>(own + (1 + i) * W) * T(1 / p_.frame[instance_ * (D + 2) + D]);
        after += g * at.outward[i];
        here += g * at.toward[i];
      }
      store(share(side), lanes != 0 ? after : load<V>(share(side)));
      for (int l = 0; l < W; ++l) exact_[l * nrhs_ + side] = lanes[l] ? double(after[l]) : exact_[l * nrhs_ + side];
      store(first_share(side), lanes != 0 ? here : load<V>(first_share(side)));
    }
  }
  void mark(int lane, int64_t end, int64_t, uint32_t) override {
    for (int64_t side = 0; side < nrhs_; ++side) end_shares_[end * nrhs_ + side] = exact_[lane * nrhs_ + side];
  }

  void sources(const Events<T, D>& events, const Ends<T, D>&, int64_t) override {
    for (int64_t side = 0; wants_sources && events.iterations && side < nrhs_; ++side) {
      const data::Field<V, D> source = field(p_.source, side);
      data::FieldAdjoint<V, D>(source, dsource_(side)).add(events.x, events.weight + side * events.row, events.iterations * W);
    }
  }

  void close(const Ends<T, D>& ends) override {
    const int64_t n = ends.count, padded = (n + W - 1) / W * W;
    for (int64_t side = 0; ddirichlet_(0) && side < nrhs_; ++side) {
      const data::Field<V, D> boundary = field(p_.dirichlet, side);
      data::FieldAdjoint<V, D> adjoint(boundary, ddirichlet_(side));
      const bool on_primitives = boundary.data.kind == data::Kind::per_vertex;
      for (int64_t e = 0; e < n; ++e) {
        const double share = end_shares_[e * nrhs_ + side] * double(ends.weight[e]);
        shares_[e] = T(share);
        if (on_primitives) adjoint.add_on_primitive(ends.primitive[e], ends.corner_weights, e, share);
      }
      for (int64_t e = n; e < padded; ++e) shares_[e] = 0;
      if (!on_primitives) adjoint.add(ends.x, shares_, padded);
    }
  }

 private:
  using Sink<V, D>::share;
  using Sink<V, D>::first_share;
  static T squared_extent(const Walk<T>& p, int64_t instance) {
    const double extent = p.frame[instance * (D + 2) + D];
    return T(extent * extent);
  }
  data::Field<V, D> field(const data::Data& data, int64_t side) const {
    return {data, instance_ * nrhs_ + side, p_.first_data, p_.frame + instance_ * (D + 2)};
  }
  T* of_channel(int64_t side) const { return of_channel_ + side * (1 + D) * W; }

  const Walk<T>& p_;
  const int64_t instance_, nrhs_, nodes_;
  const double* const grad_;
  const PartOf ddirichlet_, dsource_;
  const Scratch<T> of_channel_;               // (nrhs, 1 + D, W)
  const Scratch<double> exact_, end_shares_;  // (W, nrhs): shares before rounding; (ends, nrhs)
  const Scratch<T> shares_;
};

// The number of parts per instance for gradients of `length` values for each right-hand side. Depends on sizes alone.
template <class T>
int64_t parts_of(const Walk<T>& p, int64_t length) {
  const int64_t parts = min(kParts, max(kMinParts, kPartNumbers / (max<int64_t>(1, length) * p.nrhs)));
  return max<int64_t>(1, min(parts / p.B, p.N * p.walks / kPartWalks));
}

// Calls run(instance, part, first, last) for the slots [first, last) of every part of every instance, kBatchWalks slots at a time.
template <class T, class F>
void in_batches(const Walk<T>& p, int64_t parts, double walk_ns, F&& run) {
  const int64_t total = p.N * p.walks, longest = (total + parts - 1) / parts;
  for (int64_t done = 0; done < longest; done += kBatchWalks)
    parallel_for(p.B * parts, p.threads, double(min(kBatchWalks, longest)) * walk_ns, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        const int64_t instance = item / parts, part = item % parts;
        const int64_t first = total * part / parts + done, last = min(total * (part + 1) / parts, first + kBatchWalks);
        if (first < last) run(instance, part, first, last);
      }
    });
}

// Costs as much as a forward run without its reduction. Memory: at most kParts partial sums per gradient, for any number of walks.
template <class T>
void walk_adjoint(const WalkAdjoint<T>& unscaled) {
  const Walk<T>& p = unscaled.forward;
  const int64_t total = p.N * p.walks;
  const int64_t sides = p.sides();
  if (sides * total == 0 || (!unscaled.ddirichlet && !unscaled.dsource)) return;
  const Units units(unscaled.grad, sides, p.N * p.nodes() * p.channels());
  const WalkAdjoint<T> q{p, units.grad(), unscaled.ddirichlet, unscaled.dsource};
  const int64_t length = (q.ddirichlet ? Parts::longest(p.dirichlet, sides) : 0) + (q.dsource ? Parts::longest(p.source, sides) : 0);
  const int64_t parts = parts_of(p, length);
  const Parts of_boundary(p.dirichlet, sides, parts, q.ddirichlet), of_source(p.source, sides, parts, q.dsource);
  const Slots slots{0, p.N, p.first_walk, p.walks};
  in_batches(p, parts, kUsualSteps * kStepNs, [&](int64_t instance, int64_t part, int64_t first, int64_t last) {
    const PartOf boundary{of_boundary, instance, p.nrhs, part}, source{of_source, instance, p.nrhs, part};
    if (p.dimension > 3)
      wide_shares(q, instance, slots, first, last, boundary, source);
    else
      run_team<Shares>(p, instance, slots, first, last, q, instance, boundary, source);
  });
  of_boundary.add_up(units);
  of_source.add_up(units);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
