// Sums over the sources near each point, and their adjoint. Candidates from the cells around a point are read in full vectors; those within
// the cutoff are packed, and the short-range kernel B is evaluated for them. A candidate takes four reads, mostly from L1.
#pragma once
#include "cheb/particles/cells.hpp"
#include "cheb/particles/formula.hpp"
#include "core/lanes/shuffles.hpp"

namespace quatrefoil::cheb::particles {
inline namespace QF_ISA {

constexpr double kCandidateNs = 0.5, kNeighbourNs = 2;  // from `quatrefoil bench cheb` (README, Measured)

// f_i = sum_p w_p B(|x_i - y_p|^2) over sources y_p with weights w_p, and its slope with respect to x_i, times a factor.
template <class T>
struct Results {
  T *value, *slope;  // (n,), (n, 3); either may be null
  const T* factor;   // (n,), for the slopes
};

template <class T, bool slopes>
class Neighbours {
  using V = Lanes<T>;
  static constexpr int W = kLanes<T>, kVectors = slopes ? 2 : 4, kBlock = kVectors * W, kRoom = 64 * W, kRows = slopes ? 5 : 2;

 public:
  explicit Neighbours(const Bracket& bracket) : terms_(bracket.terms), square_(T(bracket.cutoff * bracket.cutoff)) {
    scale_ = T(2 / (bracket.cutoff * bracket.cutoff));
    for (int k = 0; k < terms_; ++k) c_[k] = T(bracket.c[k]);
  }

  void begin(const T* point) {
    for (int k = 0; k < 3; ++k) at_[k] = broadcast<V>(point[k]);
    value_ = V{};
    for (V& s : slope_) s = V{};
    count_ = 0;
  }

  // Packs the sources of [first, last) that are within the cutoff, without an unpredictable branch.
  void add(const Sources<T>& sources, int64_t first, int64_t last) {
    const T *x = sources.coordinate(0), *y = sources.coordinate(1), *z = sources.coordinate(2), *w = sources.weight();
    const V at[3] = {at_[0], at_[1], at_[2]}, square = broadcast<V>(square_);
    check_(double(last - first) * kCandidateNs);
    while (first < last) {
      const int64_t stop = min(last, first + kRoom - count_);
      int64_t count = count_;
      for (int64_t i = first; i < stop; i += W) {
        const V d[3] = {at[0] - load<V>(x + i), at[1] - load<V>(y + i), at[2] - load<V>(z + i)};
        const V s = multiply_add(d[2], d[2], multiply_add(d[1], d[1], V(d[0] * d[0])));
        const int64_t valid = min<int64_t>(stop - i, W);
        const unsigned near = bits(s < square) & ((2u << (valid - 1)) - 1);
        compress(s, near, packed_[0] + count);
        compress(load<V>(w + i), near, packed_[1] + count);
        if constexpr (slopes)
          for (int k = 0; k < 3; ++k) compress(d[k], near, packed_[2 + k] + count);
        count += __builtin_popcount(near);
      }
      count_ = count, first = stop;
      if (count_ > kRoom - W) add_up(count_ / kBlock * kBlock);
    }
  }

  // Returns the sums. The last sources are first padded to a full block.
  void end(T* value, T* slope) {
    const int64_t full = round_up(count_, kBlock);
    for (int64_t i = count_; i < full; ++i) {
      for (int k = 1; k < kRows; ++k) packed_[k][i] = T(0);
      packed_[0][i] = square_;
    }
    count_ = full;
    if (full) add_up(full);
    *value = sum(value_);
    if constexpr (slopes)
      for (int k = 0; k < 3; ++k) slope[k] = sum(slope_[k]);
  }

 private:
  // Sums the first n packed sources, where n is a multiple of kBlock. Moves the remaining sources, fewer than a block, to the front.
  void add_up(int64_t n) {
    for (int64_t i = 0; i < n; i += kBlock) {
      V s[kVectors];
      for (int v = 0; v < kVectors; ++v) s[v] = load<V>(packed_[0] + i + v * W);
      Pairs<kVectors, V> pairs;
      pairs.template compute<slopes>(s, c_, terms_, scale_);
      for (int v = 0; v < kVectors; ++v) {
        const V weight = load<V>(packed_[1] + i + v * W);
        value_ = multiply_add(weight, pairs.value[v], value_);
        if constexpr (slopes) {
          const V pull = weight * pairs.slope[v];
          for (int k = 0; k < 3; ++k) slope_[k] = multiply_add(pull, load<V>(packed_[2 + k] + i + v * W), slope_[k]);
        }
      }
    }
    count_ -= n;
    for (int k = 0; k < kRows; ++k)
      for (int64_t i = 0; i < count_; i += W) store(packed_[k] + i, load<V>(packed_[k] + n + i));
    check_(double(n) * kNeighbourNs);
  }

  alignas(64) T packed_[kRows][kRoom + 2 * W] = {};  // r^2, the weight, the three differences
  T c_[kMaxTerms];
  int terms_;
  T scale_, square_;
  V at_[3], value_{}, slope_[3] = {};
  int64_t count_ = 0;
  InterruptCheck check_;
};

// Computes the sums at n points. Each point belongs to one task; the order of its sum depends only on the arrays.
template <class T, bool slopes>
void sums(const T* from, const T* weights, int64_t count, const T* points, int64_t n, const Bracket& bracket, const Results<T>& to,
          int threads) {
  if (n == 0) return;
  if (count == 0) {
    set_zero(to.value, n);
    set_zero(to.slope, 3 * n);
    return;
  }
  const Sources<T> sources(from, weights, count, bracket.cutoff);
  const Scratch<int64_t> order(n);
  {
    const Scratch<int64_t> start(sources.Cells<T>::count() + 1);
    sources.sort(points, n, order, start);  // adjacent points read the same sources
  }
  const double each_ns = 200 + min<double>(double(count), 500) * kNeighbourNs;
  parallel_for(n, threads, each_ns, [&](int64_t begin, int64_t end) {
    Neighbours<T, slopes> near(bracket);
    for (int64_t j = begin; j < end; ++j) {
      const int64_t i = order[j];
      near.begin(points + 3 * i);
      sources.near(points + 3 * i, [&](int64_t a, int64_t b) { near.add(sources, sources.start()[a], sources.start()[b + 1]); });
      T value, slope[3] = {};
      near.end(&value, slope);
      if (to.value) to.value[i] = value;
      if (to.slope)
        for (int k = 0; k < 3; ++k) to.slope[3 * i + k] = slope[k] * to.factor[i];
    }
  });
}

// The index of the first element that is not finite, or -1.
template <class T>
int64_t first_unbounded(const T* x, int64_t n, int threads) {
  int64_t bad = -1;
  parallel_for(n, threads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      if (!(x[i] - x[i] == T(0))) return note_first(bad, i);
  });
  return bad;
}

template <class T>
int64_t first_bad(const ShortRange<T>& p) {
  const int64_t bad = first_unbounded(p.X, 3 * p.P, p.threads);
  if (bad >= 0) return bad;
  const int64_t target = first_unbounded(p.targets, 3 * p.N, p.threads);
  return target < 0 ? -1 : 3 * p.P + target;
}

template <class T>
int64_t short_range(const ShortRange<T>& p) {
  const int64_t bad = first_bad(p);
  if (bad < 0) sums<T, false>(p.X, p.q, p.P, p.targets, p.N, p.bracket, {p.f, nullptr, nullptr}, p.threads);
  return bad;
}

// README (8): B is symmetric, so particles and targets exchange roles.
template <class T>
int64_t short_range_adjoint(const ShortRangeAdjoint<T>& v) {
  const ShortRange<T>& p = v.forward;
  const int64_t bad = first_bad(p);
  if (bad >= 0) return bad;
  sums<T, true>(p.X, p.q, p.P, p.targets, p.N, p.bracket, {nullptr, v.dtargets, v.grad}, p.threads);
  sums<T, true>(p.targets, v.grad, p.N, p.X, p.P, p.bracket, {v.dq, v.dX, p.q}, p.threads);
  return -1;
}

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::particles
