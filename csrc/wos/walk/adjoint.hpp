// The gradient of the walks' means in the numbers of their data: the same paths again, and no number a walk is stored. README (7), (8).
#pragma once
#include "core/run/partial_sums.hpp"
#include "wos/data/field.hpp"
#include "wos/walk/rounds.hpp"

namespace quatrefoil::wos::walk {
inline namespace QF_ISA {

constexpr int64_t kParts = 64;             // partial sums of a gradient at most, by sizes alone: the same bits for any number of threads
constexpr int64_t kPartWalks = 1024;       // of a part at least
constexpr int64_t kPartNumbers = 1 << 21;  // of all parts together, 16 MB: a grid has many values; but
constexpr int64_t kLeastParts = 8;         // so many parts there may be
constexpr int64_t kPieceWalks = 16384;     // of a part between two looks for an interrupt

// What a walk adds to the gradients is its share of its node's, grad / size.
template <class V, int D>
class Shares final : public Sink<V, D> {
 public:
  using typename Sink<V, D>::T;
  using typename Sink<V, D>::I;
  using Sink<V, D>::W;
  using Sink<V, D>::wants_sources;
  using Sink<V, D>::iterations;

  Shares(const WalkAdjoint<T>& q, int64_t instance, double* ddirichlet, double* dsource)
      : Sink<V, D>(dsource != nullptr, 1, kIterations, squared_extent(q.forward, instance)),
        p_(q.forward),
        nodes_(p_.nodes()),
        grad_(q.grad + instance * p_.N * nodes_ * p_.channels()),
        boundary_{p_.dirichlet, instance, p_.first_instance, p_.frame + instance * (D + 2)},
        source_{p_.source, instance, p_.first_instance, p_.frame + instance * (D + 2)},
        of_boundary_(boundary_, ddirichlet),
        of_source_(source_, dsource),
        end_shares_(most_ends<V>(iterations)),
        shares_(most_ends<V>(iterations)) {
    for (int l = 0; l < W; ++l) share_[l] = first_share_[l] = 0, exact_[l] = 0;
    for (auto& c : of_channel_)
      for (int l = 0; l < W; ++l) c[l] = 0;
  }

  void begin(int lane, int64_t, int64_t point, int64_t walk) override {
    const int64_t sample = walk / p_.group(), first = p_.first_walk / p_.group(), end = first + p_.walks / p_.group();
    int64_t at = first, node = 0, size = node_size(at, end);
    for (; at + size <= sample; size = node_size(at, end)) at += size, ++node;
    const double* const grad = grad_ + (point * nodes_ + node) * p_.channels();
    for (int c = 0; c < p_.channels(); ++c) of_channel_[c][lane] = T(grad[c] / double(size * p_.group()));
    share_[lane] = of_channel_[0][lane];
    exact_[lane] = grad[0] / double(size * p_.group());
  }
  void enter(I lanes, const First<V, D>& at) override {
    V after = load<V>(of_channel_[0]) * at.along, here = load<V>(of_channel_[0]) * at.source;
    for (int i = 0; i < D; ++i) {
      const V g = load<V>(of_channel_[1 + i]) * T(1 / boundary_.frame[D]);
      after += g * at.outward[i];
      here += g * at.toward[i];
    }
    store(share_, lanes != 0 ? after : load<V>(share_));
    for (int l = 0; l < W; ++l) exact_[l] = lanes[l] ? double(after[l]) : exact_[l];
    store(first_share_, lanes != 0 ? here : load<V>(first_share_));
  }
  void mark(int lane, int64_t end, int64_t, uint32_t) override { end_shares_[end] = exact_[lane]; }

  void sources(const Events<T, D>& events, const Ends<T, D>&, int64_t) override {
    if (wants_sources && events.iterations) of_source_.add(events.x, events.weight, events.iterations * W);
  }

  void close(const Ends<T, D>& ends) override {
    if (!of_boundary_.wanted()) return;
    const int64_t n = ends.count, padded = (n + W - 1) / W * W;
    for (int64_t e = 0; e < n; ++e) {
      const double share = end_shares_[e] * double(ends.weight[e]);
      shares_[e] = T(share);
      if (boundary_.data.kind == data::Kind::per_vertex) of_boundary_.add_on_piece(ends.primitive[e], ends.place, e, share);
    }
    for (int64_t e = n; e < padded; ++e) shares_[e] = 0;
    if (boundary_.data.kind != data::Kind::per_vertex) of_boundary_.add(ends.x, shares_, padded);
  }

 private:
  using Sink<V, D>::share_;
  using Sink<V, D>::first_share_;
  static T squared_extent(const Walk<T>& p, int64_t instance) {
    const double extent = p.frame[instance * (D + 2) + D];
    return T(extent * extent);
  }

  const Walk<T>& p_;
  const int64_t nodes_;
  const double* const grad_;
  const data::Field<V, D> boundary_, source_;
  data::FieldAdjoint<V, D> of_boundary_, of_source_;
  alignas(64) T of_channel_[1 + D][W];
  alignas(64) double exact_[W];  // share_ before it was rounded
  Scratch<double> end_shares_;
  Scratch<T> shares_;
};

// The gradients of every instance in a unit of their own, a power of two: shares are added up in T, and in float32 1e-40 is 0.
class Units {
 public:
  // grad (B, each) stays where it is if all of it is of an ordinary size.
  Units(const double* grad, int64_t B, int64_t each) : grad_(grad), units_(B), ordinary_(find(B, each)), scaled_(ordinary_ ? 0 : B * each) {
    for (int64_t k = 0; !ordinary_ && k < B * each; ++k) scaled_[k] = grad[k] / units_[k / each];
  }
  const double* grad() const { return ordinary_ ? grad_ : scaled_; }
  double operator[](int64_t instance) const { return units_[instance]; }

 private:
  static constexpr int64_t kOrdinary = 20;
  // Whether all units are 1.
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
  // Of the largest number; NaN and infinity stay what they are in any unit.
  static int64_t exponent(const double* x, int64_t n) {
    int64_t most = 0;
    for (int64_t k = 0; k < n; ++k) {
      const int64_t e = as_bits<int64_t>(x[k]) >> 52 & 0x7ff;
      most = max(most, x[k] != 0 && e < 0x7ff ? max<int64_t>(e, 1) : 0);
    }
    return most ? min<int64_t>(most, 2045) - 1023 : 0;
  }
  const double* const grad_;
  Scratch<double> units_;
  const bool ordinary_;
  Scratch<double> scaled_;
};

// Partial sums of one gradient: `parts` for every instance, each as long as an instance has numbers.
class Parts {
 public:
  Parts(const data::Data& data, int64_t B, int64_t parts, double* out)
      : data_(data), B_(B), parts_(parts), length_(longest(data, B)), out_(out), sums_(out ? B * parts * length_ : 0) {
    if (out) set_zero<double>(sums_, B * parts * length_);
  }
  double* operator()(int64_t instance, int64_t part) const { return out_ ? sums_ + (instance * parts_ + part) * length_ : nullptr; }
  static int64_t longest(const data::Data& data, int64_t B) {
    int64_t most = 0;
    for (int64_t b = 0; b < B; ++b) most = max(most, data.count(b));
    return most;
  }
  // In their order: shared numbers collect from all instances.
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

// Into how many parts the walks of an instance are cut: sizes alone say it.
template <class T>
int64_t parts_of(const WalkAdjoint<T>& q) {
  const Walk<T>& p = q.forward;
  const int64_t length =
      max<int64_t>(1, (q.ddirichlet ? Parts::longest(p.dirichlet, p.B) : 0) + (q.dsource ? Parts::longest(p.source, p.B) : 0));
  const int64_t parts = min(kParts, max(kLeastParts, kPartNumbers / length));
  return max<int64_t>(1, min(parts / p.B, p.N * p.walks / kPartWalks));
}

// run(instance, part, first, last) for the slots [first, last) of every part of every instance, a piece of each after the other.
template <class T, class F>
void in_pieces(const Walk<T>& p, int64_t parts, double walk_ns, F&& run) {
  const int64_t total = p.N * p.walks, longest = (total + parts - 1) / parts;
  for (int64_t done = 0; done < longest; done += kPieceWalks)
    parallel_for(p.B * parts, p.threads, double(min(kPieceWalks, longest)) * walk_ns, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        const int64_t instance = item / parts, part = item % parts;
        const int64_t first = total * part / parts + done, last = min(total * (part + 1) / parts, first + kPieceWalks);
        if (first < last) run(instance, part, first, last);
      }
    });
}

// Costs a forward run without its reduction. Memory: kParts partial sums of the numbers at most, whatever the number of walks.
template <class T>
void walk_adjoint(const WalkAdjoint<T>& given) {
  const Walk<T>& p = given.forward;
  const int64_t total = p.N * p.walks;
  if (p.B * total == 0 || (!given.ddirichlet && !given.dsource)) return;
  const Units units(given.grad, p.B, p.N * p.nodes() * p.channels());
  const WalkAdjoint<T> q{p, units.grad(), given.ddirichlet, given.dsource};
  const int64_t parts = parts_of(q);
  const Parts of_boundary(p.dirichlet, p.B, parts, q.ddirichlet), of_source(p.source, p.B, parts, q.dsource);
  const Slots slots{0, p.N, p.first_walk, p.walks};
  in_pieces(p, parts, kUsualSteps * kStepNs, [&](int64_t instance, int64_t part, int64_t first, int64_t last) {
    if (p.dimension > 3)
      wide_shares(q, instance, slots, first, last, of_boundary(instance, part), of_source(instance, part));
    else
      run_team<Shares>(p, instance, slots, first, last, q, instance, of_boundary(instance, part), of_source(instance, part));
  });
  of_boundary.add_up(units);
  of_source.add_up(units);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
