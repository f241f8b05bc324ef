// Distances from a square grid, flattened from a quadtree (README, The grid).
#pragma once
#include "core/lanes/shuffles.hpp"
#include "wos/polygon/args.hpp"
#include "wos/polygon/formula.hpp"

namespace quatrefoil::wos::polygon {
inline namespace QF_ISA {

constexpr double kHalfSide = 0.5 * (1 + 0x1p-6);  // half the grid's side: the box and a margin, so that a walk never leaves the grid
constexpr int kRecord = 8;                        // fields per segment: 32 or 64 bytes, at most one cache line

// Field j of record index[i] becomes lane i of f[j]. Loads whole records and transposes them in registers.
template <class V>
QF_HD void load_records(const Element<V>* records, const Bits<Element<V>>* index, V (&f)[kRecord]) {
  constexpr int W = kWidth<V>;
  if constexpr (W == 2 * kRecord) {
    using H = Lanes<Element<V>, kRecord>;
    for (int i = 0; i < kRecord; ++i) {
      const H a = load<H>(records + kRecord * int64_t(index[i])), b = load<H>(records + kRecord * int64_t(index[i + kRecord]));
      f[i] = __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    }
    constexpr auto lanes = std::make_integer_sequence<int, W>{};
    for (int i = 0; i < 8; i += 2) exchange<1>(f[i], f[i + 1], lanes);
    for (int i : {0, 1, 4, 5}) exchange<2>(f[i], f[i + 2], lanes);
    for (int i = 0; i < 4; ++i) exchange<4>(f[i], f[i + 4], lanes);
  } else {
    static_assert(W <= kRecord);
    for (int part = 0; part < kRecord; part += W) {
      for (int i = 0; i < W; ++i) f[part + i] = load<V>(records + kRecord * int64_t(index[i]) + part);
      transpose(f + part);
    }
  }
}

// Distance and closest segment of a point.
template <class V>
struct Seen {
  V radius;           // the distance, or a lower bound on it
  V t;                // the position on the closest segment
  Bits<V> primitive;  // closest segment; -1 if radius is a bound
};

template <class V>
class Polygon {
 public:
  static constexpr int D = 2;
  using T = Element<V>;
  using I = Bits<V>;
  using Int = Bits<T>;
  explicit Polygon(const Grid<T>& grid)
      : grid_(grid), scale_(T((1 << grid.level) / (2 * kHalfSide))), cell_(T(2 * kHalfSide / (1 << grid.level))) {}

  // Reads one cell and, near the boundary, its list and one record per candidate. Inactive lanes read no list.
  QF_HD Seen<V> look(const V (&x)[2], I active) const {
    const T low = T(-kHalfSide);
    const I last = I{} + Int((1 << grid_.level) - 1);
    const I cx = index(x[0] - low, last), cy = index(x[1] - low, last);
    const I word = gather(grid_.cells, (cy << grid_.level) + cx);
    const I near = (word < 0) & active;
    const I size = word & 15;
    const V node = real((I{} + 1) << size) * cell_;
    const V dx = (x[0] - low) - (real(cx >> size) + T(0.5)) * node, dy = (x[1] - low) - (real(cy >> size) + T(0.5)) * node;
    const V bound = (V)word - square_root(dx * dx + dy * dy);
    V nearest_t{}, best = broadcast<V>(T(1e30));
    I primitive = I{} - 1;
    const I list = near ? word & kIndex : I{};  // list 0 is empty
    const I count = gather(grid_.lists, list);
    const Int longest = largest(count);
    const I final = count > 0 ? count - 1 : I{};
    for (Int k = 0; k < longest; ++k) {  // a shorter list repeats its last candidate, which changes nothing
      alignas(64) Int at[kWidth<V>];
      const I candidate = gather(grid_.lists, list + 1 + (final < k ? final : I{} + k));
      store(at, candidate);
      V f[kRecord], t;
      load_records<V>(grid_.records, at, f);
      const V d2 = segment_distance2(x[0], x[1], f[0], f[1], f[2], f[3], f[4], t);
      const I closer = d2 < best;
      best = closer ? d2 : best;
      nearest_t = closer ? t : nearest_t;
      primitive = closer ? candidate : primitive;
    }
    return {near != 0 ? square_root(best) : bound, nearest_t, near != 0 ? primitive : I{} - 1};
  }
  T clear() const { return grid_.clear; }
  // (5) Moves lanes out of half discs, with the random directions n. A lane of `may` moves if the half disc at its closest segment has a
  // radius of at least `min_radius` and at least 1.4 times the lane's height; `moved` marks these lanes. Returns the lanes that landed on
  // the segment, and writes their positions to `seen`.
  QF_HD I leave_half_discs(V (&x)[2], I may, const V (&n)[2], T min_radius, Seen<V>& seen, I& moved) const {
    moved = I{};
    may &= seen.primitive >= 0;
    if (!bits(may)) return I{};
    alignas(64) Int at[kWidth<V>];
    store(at, may ? seen.primitive : I{} + Int(grid_.M));
    V f[kRecord];
    load_records<V>(grid_.records, at, f);
    const V clearance[3] = {f[5], f[6], f[7]}, length = square_root(f[2] * f[2] + f[3] * f[3]), inverse = length * f[4];
    const V R = clear_radius(seen.t, length, clearance), along[2] = {f[2] * inverse, f[3] * inverse};
    const V foot[2] = {f[0] + seen.t * f[2], f[1] + seen.t * f[3]};
    const V side = (x[1] - foot[1]) * along[0] - (x[0] - foot[0]) * along[1], height = side < 0 ? -side : side;
    moved = may & (R >= min_radius) & (R >= T(1.4) * height) & (height > kOnSegment);
    if (!bits(moved)) return I{};
    V to_x, to_y;
    const I landed = moved & leave_half_disc(V(height / (moved ? R : broadcast<V>(T(1)))), n[0], n[1], to_x, to_y);
    const V up = side < 0 ? -to_y : to_y;
    x[0] = moved ? foot[0] + R * (to_x * along[0] - up * along[1]) : x[0];
    x[1] = moved ? foot[1] + R * (to_x * along[1] + up * along[0]) : x[1];
    seen.radius = landed ? V{} : seen.radius;
    seen.t = landed ? seen.t + to_x * R * inverse : seen.t;
    return landed;
  }
  // Moves x to the closest boundary point, where its walk ends. Tests every segment if x is far from the boundary.
  void project(T (&x)[2], Int& primitive, T (&where)[1]) const {
    T& nearest_t = where[0];
    if (primitive < 0) {
      T best = T(1e30), t;
      for (int64_t k = 0; k < grid_.M; ++k) {
        const T* r = grid_.records + kRecord * k;
        const T d2 = segment_distance2(x[0], x[1], r[0], r[1], r[2], r[3], r[4], t);
        if (d2 < best || k == 0) best = d2, nearest_t = t, primitive = Int(k);
      }
    }
    const T* r = grid_.records + kRecord * int64_t(primitive);
    x[0] = r[0] + nearest_t * r[2];
    x[1] = r[1] + nearest_t * r[3];
  }
  static bool escaped(const T (&x)[2]) {
    return !(x[0] > T(-kHalfSide) && x[0] < T(kHalfSide) && x[1] > T(-kHalfSide) && x[1] < T(kHalfSide));
  }

 private:
  static constexpr T kOnSegment = sizeof(T) == 4 ? T(1e-6) : T(1e-14);  // the sign of smaller heights is uncertain because of rounding
  static constexpr Int kIndex = ~(Int(1) << (8 * sizeof(Int) - 1));
  QF_HD static V real(I i) { return __builtin_convertvector(i, V); }
  QF_HD I index(V from_low, I last) const {
    const I i = __builtin_convertvector(from_low * scale_, I);
    const I positive = i > 0 ? i : I{};
    return positive < last ? positive : last;
  }
  const Grid<T> grid_;
  const T scale_, cell_;
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::polygon
