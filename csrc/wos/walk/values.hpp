// The values of the walks of one instance: sources along their paths, boundary values at their ends.
#pragma once
#include "wos/data/field.hpp"
#include "wos/walk/side_sums.hpp"

namespace quatrefoil::wos::walk {
inline namespace QF_ISA {

// `values` (channels, slots, right-hand sides) and `marks` (slots). Consecutive channels are `slots` slots apart.
template <class V, int D>
class Values final : public Sink<V, D> {
 public:
  using typename Sink<V, D>::T;
  using typename Sink<V, D>::I;
  using Int = Bits<T>;
  using Sink<V, D>::W;
  using Sink<V, D>::wants_sources;
  using Sink<V, D>::iterations;
  using Sink<V, D>::max_ends;

  Values(const Walk<T>& p, int64_t instance, double* values, int64_t slots, uint32_t* marks)
      : Sink<V, D>(p.source.kind != data::Kind::none, p.dirichlet.kind == data::Kind::function ? kCallPoints : 1,
                   p.source.kind == data::Kind::function ? max<int64_t>(kIterations, kCallPoints * 3 / 2 / W) : kIterations, 1, 1),
        p_(p),
        instance_(instance),
        nrhs_(p.nrhs),
        pairs_(p.gradient),
        far_values_(p.source.kind == data::Kind::function && sizeof(T) < sizeof(double)),
        slots_(slots),
        values_(values),
        marks_(marks),
        boundaries_(p.dirichlet, instance * nrhs_, nrhs_),
        sources_(p.source, instance * nrhs_, nrhs_, area(), iterations),
        event_values_(wants_sources ? 3 * iterations * W : 0),
        ended_(wants_sources ? iterations * W : 0),
        end_at_(wants_sources ? max_ends : 0),
        sums_(2 * W * nrhs_),
        far_(far_values_ ? 2 * (W * nrhs_ + max_ends) : 0),
        end_firsts_(pairs_ ? kFirst * max_ends : 0),
        end_sums_(2 * nrhs_ * max_ends),
        end_values_(max_ends * (boundaries_.count() ? 2 * W : 2)),
        absolute_(max_ends * D) {
    for (int l = 0; l < W; ++l) this->share(0)[l] = 1, this->first_share(0)[l] = -1;
    for (int64_t k = 0; k < 2 * W * nrhs_; ++k) sums_[k] = 0;
    for (int64_t k = 0; far_values_ && k < 2 * W * nrhs_; ++k) far_[k] = 0;
  }

  void begin(int lane, int64_t, int64_t, int64_t) override {
    if (!pairs_) return;  // a walk without steps has the boundary value and an unknown gradient
    for (int j = 0; j < kFirst; ++j) first_[j][lane] = T(__builtin_nan(""));
    first_[0][lane] = 1, first_[1][lane] = 0;
  }
  void enter(I lanes, const First<V, D>& at) override {
    const auto keep = [&](int j, V v) { store(first_[j], lanes != 0 ? v : load<V>(first_[j])); };
    keep(0, at.along), keep(1, at.source);
    const V scale = broadcast<V>(T(1 / frame()[D]));  // converts the gradient to absolute coordinates
    for (int i = 0; i < D; ++i) keep(2 + i, at.outward[i] * scale), keep(2 + D + i, at.toward[i] * scale);
  }
  void mark(int lane, int64_t end, int64_t slot, uint32_t mark) override {
    marks_[slot] = mark;
    if (!pairs_) return;
    for (int j = 0; j < kFirst; ++j) end_firsts_[end * kFirst + j] = first_[j][lane];
  }

  void sources(const Events<T, D>& events, const Ends<T, D>& ends, int64_t first) override {
    if (!wants_sources) {
      for (int64_t k = first * nrhs_; k < ends.count * nrhs_; ++k) end_sums_[k] = first_sums()[k] = 0;
      return;
    }
    if (!events.iterations) return;
    note_ends(events.iterations, ends, first);
    sources_.add(events, ended_, nrhs_, end_sums_, first_sums());
    for (int64_t side = sources_.count(); side < nrhs_; ++side) add_sources(side, events, first, ends.count);
  }

  void close(const Ends<T, D>& ends) override {
    const int64_t n = ends.count;
    for (int64_t side = 0; side < boundaries_.count(); side += W) {
      boundaries_.evaluate(ends.x, n, side, static_cast<double*>(end_values_));
      add_boundary(ends, side, W, end_values_);
    }
    double* const values = end_values_ + max_ends;
    for (int64_t side = boundaries_.count(); side < nrhs_; ++side) {
      const data::Field<V, D> boundary = field(p_.dirichlet, side);
      if (boundary.data.kind == data::Kind::per_vertex)
        for (int64_t e = 0; e < n; ++e) values[e] = boundary.on_primitive(ends.primitive[e], ends.corner_weights, e);
      else
        boundary.evaluate(ends.x, (n + W - 1) / W * W, values, absolute_, end_values_);
      add_boundary(ends, side, 1, values);
    }
    for (int64_t e = 0; e < n; ++e) put(e, values_ + ends.slot[e] * nrhs_);
  }

 private:
  static constexpr int kFirst = 2 + 2 * D;  // fields of a First

  const double* frame() const { return p_.frame + instance_ * (D + 2); }
  T area() const { return T(frame()[D] * frame()[D]); }
  data::Field<V, D> field(const data::Data& data, int64_t side) const { return {data, instance_ * nrhs_ + side, p_.first_data, frame()}; }
  // Source sums in the first balls of the ended walks, (ends, nrhs); the remaining sums are in end_sums_.
  double* first_sums() const { return end_sums_ + nrhs_ * max_ends; }

  // Weights boundary values (n, width) and adds them to the sums of right-hand sides from `side` on. Two loops: in a single loop the
  // compiler would fuse product and sum for only some of the walks.
  void add_boundary(const Ends<T, D>& ends, int64_t side, int64_t width, double* values) {
    for (int64_t e = 0; e < ends.count; ++e) {
      const double weight = double(ends.weight[e]);
      for (int64_t i = 0; i < width; ++i) values[e * width + i] = weight > 0 ? weight * values[e * width + i] : 0;
    }
    for (int64_t e = 0; e < ends.count; ++e)
      for (int64_t i = 0; i < width; ++i) end_sums_[e * nrhs_ + side + i] += values[e * width + i];
  }

  // Writes the values of a walk, or of one walk of a pair (13).
  void put(int64_t e, double* __restrict to) {
    const double *const later = end_sums_ + e * nrhs_, *const here = first_sums() + e * nrhs_;
    if (!pairs_) {
      for (int64_t side = 0; side < nrhs_; ++side) to[side] = later[side];
      return;
    }
    const T* const first = end_firsts_ + e * kFirst;
    for (int c = 0; c < 1 + D; ++c) {
      const double along = double(first[c ? 1 + c : 0]), toward = double(first[c ? 1 + D + c : 1]);
      double* const of_channel = to + c * slots_ * nrhs_;
      for (int64_t side = 0; side < nrhs_; ++side) of_channel[side] = along * later[side] + toward * here[side];
    }
  }

  // Records for every event the walk that ended just before it in the same lane, or -1, and the inverse map.
  void note_ends(int64_t steps, const Ends<T, D>& ends, int64_t e) {
    for (int64_t k = 0; k < steps * W; ++k) ended_[k] = -1;
    for (int64_t k = 0; k < steps; ++k) {
      const int64_t stop = k + 1 < steps ? ends.before[k + 1] : ends.count;
      for (; e < stop; ++e) end_at_[e] = k * W + ends.lane[e], ended_[end_at_[e]] = Int(e);
    }
  }

  // Sums over the source points of a right-hand side, lane by lane. The sums restart after a walk ends.
  void add_sources(int64_t side, const Events<T, D>& events, int64_t first, int64_t count) {
    T *const values = event_values_, *const before = values + iterations * W, *const first_before = before + iterations * W;
    field(p_.source, side).evaluate(events.x, events.iterations * W, values, absolute_, end_values_, events.weight);
    if (far_values_) take_far(side, events);
    const T area = this->area();
    T* const own = sums_ + 2 * side * W;
    V sum = load<V>(own), first_sum = load<V>(own + W);
    for (int64_t k = 0; k < events.iterations * W; k += W) {
      const I goes_on = load<I>(ended_ + k) < 0;
      store(before + k, sum), store(first_before + k, first_sum);
      sum = goes_on != 0 ? sum : V{}, first_sum = goes_on != 0 ? first_sum : V{};
      const V weight = load<V>(events.weight + k), f = load<V>(values + k);
      sum = weight > 0 ? sum + weight * area * f : sum;
      if (pairs_) first_sum = weight < 0 ? -(weight * area * f) : first_sum;
    }
    store(own, sum), store(own + W, first_sum);
    const double* const far = far_ + 2 * W * nrhs_;
    for (int64_t e = first; e < count; ++e) {
      end_sums_[e * nrhs_ + side] = double(before[end_at_[e]]) + (far_values_ ? far[e] : 0);
      first_sums()[e * nrhs_ + side] = double(first_before[end_at_[e]]) + (far_values_ ? far[max_ends + e] : 0);
    }
  }

  // Sums function values too large or too small for T in double precision, and sets them to 0 in T. The choice depends on the value alone.
  void take_far(int64_t side, const Events<T, D>& events) {
    const double area = frame()[D] * frame()[D];
    double *const sums = far_ + 2 * side * W, *const first_sums = sums + W, *const of_ends = far_ + 2 * W * nrhs_;
    for (int64_t k = 0; k < events.iterations * W; ++k) {
      double &sum = sums[k % W], &first = first_sums[k % W];
      if (ended_[k] >= 0) {
        of_ends[ended_[k]] = sum, of_ends[max_ends + ended_[k]] = first;
        sum = first = 0;
      }
      const double exact = end_values_[k], size = exact < 0 ? -exact : exact;
      if (!((size > kLargest || size < kSmallest) && size > 0 && size <= kFinite)) continue;
      const double weighted = double(events.weight[k]) * area * exact;
      event_values_[k] = 0;
      if (events.weight[k] > 0) sum += weighted;
      if (events.weight[k] < 0) first = -weighted;
    }
  }

  static constexpr double kSmallest = 0x1p-80, kLargest = 0x1p80, kFinite = 0x1.fffffffffffffp1023;
  const Walk<T>& p_;
  const int64_t instance_, nrhs_;
  const bool pairs_, far_values_;
  const int64_t slots_;
  double* const values_;
  uint32_t* const marks_;
  alignas(64) T first_[kFirst][W];
  const data::Sides<V, D> boundaries_;
  SideSums<V, D> sources_;
  const Scratch<T> event_values_;  // values of events, and both sums before them
  const Scratch<Int> ended_;
  const Scratch<int64_t> end_at_;
  const Scratch<T> sums_;      // (nrhs, 2, W): the current walks, and their first balls
  const Scratch<double> far_;  // like sums_, then (2, ends)
  const Scratch<T> end_firsts_;
  const Scratch<double> end_sums_, end_values_, absolute_;  // absolute_ and the first half of end_values_ are also used for sources
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
