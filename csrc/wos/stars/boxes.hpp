// A tree over items that are consecutive along the boundary: each run of eight has a box, each run of eight boxes another, and so on. The
// caller chooses the order: rings are already in order; triangles and edges are sorted along a space-filling curve. A visit reads 160 bytes
// per node (224 in space), twice that in float64.
#pragma once
#include "core/lanes/lanes.hpp"
#include "core/run/memory.hpp"

namespace quatrefoil::wos::stars {
inline namespace QF_ISA {

constexpr int kRun = 8;
constexpr int kDeepest = 20;  // maximum number of levels

template <class T, int D>
struct Box {
  T low[D], high[D];
  T measure;  // length or area of the contents

  void add(const Box& other) {
    for (int i = 0; i < D; ++i) low[i] = min(low[i], other.low[i]), high[i] = max(high[i], other.high[i]);
    measure += other.measure;
  }
};

QF_HD int first_bit(unsigned mask) { return __builtin_ctz(mask); }

template <class T, int D>
class Boxes {
 public:
  using V = Lanes<T, kRun>;

  // box_of(i): the box of item i < n.
  template <class F>
  Boxes(int64_t n, F&& box_of) : fields_(kFields * kRun * groups_above(n)) {
    int64_t below = n, at = 0;
    for (levels_ = 0; below > (levels_ ? kRun : 0); ++levels_) {
      const int64_t boxes = (below + kRun - 1) / kRun, groups = (boxes + kRun - 1) / kRun;
      first_[levels_] = at;
      for (int64_t i = 0; i < groups * kRun; ++i) {
        Box<T, D> box = nothing();
        for (int64_t k = kRun * i; k < min(below, kRun * (i + 1)); ++k) box.add(levels_ ? get(first_[levels_ - 1], k) : box_of(k));
        put(at, i, box);
      }
      at += groups;
      below = boxes;
    }
  }

  struct Group {
    V low[D], high[D], measure;
    QF_HD V distance2(const T (&x)[D]) const {
      V sum{};
      for (int i = 0; i < D; ++i) {
        const V below = low[i] - x[i], above = x[i] - high[i], out = higher(below, above);
        const V d = out > T(0) ? out : V{};
        sum += d * d;
      }
      return sum;
    }
    // The boxes that the ray x + t / inverse, 0 <= t <= limit, crosses. Boxes are widened by `slack` for rounding.
    QF_HD Bits<V> crossed(const T (&x)[D], const T (&inverse)[D], T limit, T slack) const {
      V enter = broadcast<V>(T(0)), leave = broadcast<V>(limit);
      for (int i = 0; i < D; ++i) {
        const V a = (low[i] - (x[i] + slack)) * inverse[i], b = (high[i] - (x[i] - slack)) * inverse[i];
        enter = higher(enter, lower(a, b));
        leave = lower(leave, higher(a, b));
      }
      return enter <= leave;
    }
  };

  // Calls leaf(run) for every run whose boxes on all levels are in the mask touches(group).
  template <class Touches, class Leaf>
  QF_HD void visit(const Touches& touches, const Leaf& leaf) const {
    int level = levels_ - 1;
    if (level < 0) return;
    int64_t at[kDeepest];
    unsigned hit[kDeepest];
    at[level] = 0;
    hit[level] = bits(touches(group(level, 0)));
    while (level < levels_) {
      if (!hit[level]) {
        ++level;
        continue;
      }
      const int64_t child = kRun * at[level] + first_bit(hit[level]);
      hit[level] &= hit[level] - 1;
      if (level) {
        --level;
        at[level] = child;
        hit[level] = bits(touches(group(level, child)));
      } else {
        leaf(child);
      }
    }
  }
  // Draws a run with probabilities proportional to weights(group), using u, uniform in [0, 1). Replaces u by a new uniform number, and
  // multiplies `chance` by the run's probability. Returns -1 if all weights of a group are 0.
  template <class Weights>
  QF_HD int64_t draw(const Weights& weights, double& u, double& chance) const {
    int64_t at = 0;
    for (int level = levels_ - 1; level >= 0; --level) {
      const int chosen = choose(weights(group(level, at)), u, chance);
      if (chosen < 0) return -1;
      at = kRun * at + chosen;
    }
    return levels_ ? at : -1;
  }
  // Draws one of eight with probabilities proportional to the weights.
  QF_HD static int choose(V weights, double& u, double& chance) {
    T w[kRun];
    store(w, weights);
    double all = 0;
    for (int i = 0; i < kRun; ++i) all += double(w[i]);
    if (!(all > 0)) return -1;
    double low = 0;
    const double target = u * all;
    int chosen = -1;
    for (int i = 0; i < kRun; ++i) {
      if (!(w[i] > 0)) continue;
      if (chosen >= 0 && low + double(w[chosen]) > target) break;
      if (chosen >= 0) low += double(w[chosen]);
      chosen = i;
    }
    u = min(max((target - low) / double(w[chosen]), 0.0), 1.0);
    chance *= double(w[chosen]) / all;
    return chosen;
  }

 private:
  static int64_t groups_above(int64_t n) {
    int64_t groups = 0;
    for (int64_t below = n; below > (groups ? kRun : 0);) {
      below = (below + kRun - 1) / kRun;
      groups += (below + kRun - 1) / kRun;
    }
    return groups;
  }
  static Box<T, D> nothing() {
    Box<T, D> box{};
    for (int i = 0; i < D; ++i) box.low[i] = T(1e12), box.high[i] = T(-1e12);
    return box;
  }
  T* field(int64_t first, int64_t i, int f) const { return fields_ + ((first + i / kRun) * kFields + f) * kRun + i % kRun; }
  void put(int64_t first, int64_t i, const Box<T, D>& b) {
    const bool empty = b.low[0] > b.high[0];  // empty boxes go far away, so that nothing touches them
    for (int j = 0; j < D; ++j) *field(first, i, j) = b.low[j], *field(first, i, D + j) = empty ? T(1e12) : b.high[j];
    *field(first, i, 2 * D) = b.measure;
  }
  Box<T, D> get(int64_t first, int64_t i) const {
    Box<T, D> box;
    for (int j = 0; j < D; ++j) box.low[j] = *field(first, i, j), box.high[j] = *field(first, i, D + j);
    box.measure = *field(first, i, 2 * D);
    return box;
  }
  QF_HD Group group(int level, int64_t i) const {
    const T* const f = fields_ + (first_[level] + i) * kFields * kRun;
    Group g;
    for (int j = 0; j < D; ++j) g.low[j] = load<V>(f + j * kRun), g.high[j] = load<V>(f + (D + j) * kRun);
    g.measure = load<V>(f + 2 * D * kRun);
    return g;
  }
  static constexpr int kFields = 2 * D + 1;
  int levels_ = 0;
  int64_t first_[kDeepest];  // first group of each level
  Scratch<T> fields_;
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::stars
