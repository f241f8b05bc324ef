// The polygon's distance: a square grid flattened from a quadtree (README, The grid), and the unit ball's.
#pragma once
#include "core/lanes/shuffles.hpp"
#include "core/run/parallel.hpp"
#include "wos/polygon/args.hpp"
#include "wos/polygon/formula.hpp"

namespace quatrefoil::wos::polygon {
inline namespace QF_ISA {

constexpr double kHalfSide = 0.5 * (1 + 0x1p-6);  // of the grid: the box and a margin, so that a walk never leaves it
constexpr double kFar = 6;    // a leaf is far from the boundary beyond so many half diagonals: its bound loses at most 2/7
constexpr double kFarUp = 8;  // a larger node: beyond it the loss (at most 2/9) costs fewer steps than finer nodes cost time
constexpr int kRecord = 8;    // numbers a segment: 32 or 64 bytes, one cache line at most

// Field j of record index[i] becomes lane i of f[j]: whole records are loaded and transposed in registers.
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

// What a walk needs to know of the place where it is.
template <class V>
struct Seen {
  V radius;           // the distance, or a lower bound of it
  V place;            // t on the closest segment
  Bits<V> primitive;  // the closest segment; -1 where radius is a bound
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

  // Reads one cell; near the boundary its list and a record a candidate. For lanes that are not active no list is read.
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
    V place{}, best = broadcast<V>(T(1e30));
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
      place = closer ? t : place;
      primitive = closer ? candidate : primitive;
    }
    return {near != 0 ? square_root(best) : bound, place, near != 0 ? primitive : I{} - 1};
  }
  // Where a walk ends: the closest point. One that was cut off far from the boundary asks every segment.
  void project(T (&x)[2], Int& primitive, T (&where)[1]) const {
    T& place = where[0];
    if (primitive < 0) {
      T best = T(1e30), t;
      for (int64_t k = 0; k < grid_.M; ++k) {
        const T* r = grid_.records + kRecord * k;
        const T d2 = segment_distance2(x[0], x[1], r[0], r[1], r[2], r[3], r[4], t);
        if (d2 < best || k == 0) best = d2, place = t, primitive = Int(k);
      }
    }
    const T* r = grid_.records + kRecord * int64_t(primitive);
    x[0] = r[0] + place * r[2];
    x[1] = r[1] + place * r[3];
  }
  static bool escaped(const T (&x)[2]) {
    return !(x[0] > T(-kHalfSide) && x[0] < T(kHalfSide) && x[1] > T(-kHalfSide) && x[1] < T(kHalfSide));
  }

 private:
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

// The unit ball around 0.
template <class V, int dimension>
class UnitBall {
 public:
  static constexpr int D = dimension;
  using T = Element<V>;
  using I = Bits<V>;
  using Int = Bits<T>;
  QF_HD Seen<V> look(const V (&x)[D], I) const {
    V r2{};
    for (int i = 0; i < D; ++i) r2 += x[i] * x[i];
    return {T(1) - square_root(r2), V{}, I{}};
  }
  void project(T (&x)[D], Int&, T (&)[D - 1]) const {
    T r2 = 0;
    for (int i = 0; i < D; ++i) r2 += x[i] * x[i];
    const T scale = r2 > 0 ? T(1) / square_root(r2) : T(0);
    for (int i = 0; i < D; ++i) x[i] *= scale;
    if (!(r2 > 0)) x[0] = 1;  // every point of the sphere is the closest one
  }
  static bool escaped(const T (&)[D]) { return false; }
};

// ---------------------------------------------------------------- building

// One thread's scratch: the candidates of every level side by side, so that a node reads its parent's with full loads.
template <class T>
class GridBuilder {
 public:
  using V = Lanes<T>;
  using Int = Bits<T>;
  static constexpr int W = kLanes<T>;

  GridBuilder(const Segments& segments, int level, Grid<T>& grid)
      : grid_(grid), segments_(segments), row_((segments.M + W - 1) / W * W), fields_(6 * row_ * (level + 2)), distances_(row_) {
    grid.M = segments.M;
    grid.level = level;
    grid.records = static_cast<T*>(allocate(std::size_t(segments.M + 1) * kRecord * sizeof(T)));
    grid.cells = static_cast<Int*>(allocate((std::size_t(1) << (2 * level)) * sizeof(Int)));
    grid.capacity = max<int64_t>(1024, 64 * segments.M);
    grid.lists = static_cast<Int*>(allocate(std::size_t(grid.capacity) * sizeof(Int)));
  }
  void build() {
    const int64_t M = segments_.M;
    T* const f = fields_;
    for (int64_t k = 0; k <= M; ++k) {
      T* r = grid_.records + kRecord * k;
      __builtin_memset(r, 0, kRecord * sizeof(T));
      if (k == M) {
        r[0] = r[1] = T(1e12);  // its square is a float32
        break;
      }
      const double* s = segments_.ends + 4 * k;
      const double ex = s[2] - s[0], ey = s[3] - s[1];
      const double fields[5] = {s[0], s[1], ex, ey, 1 / (ex * ex + ey * ey)};
      for (int j = 0; j < 5; ++j) f[j * row_ + k] = r[j] = T(fields[j]);
      f[5 * row_ + k] = T(k);
    }
    grid_.lists[0] = 0;
    grid_.lists[1] = Int(M);
    grid_.listed = 2;
    node(0, 0, 0, M);
  }

 private:
  // Keeps the candidates that may be closest to a point of the node (2); returns their number.
  int64_t prune(int depth, T x, T y, T half_diagonal, int64_t n, T& closest) {
    const T* f = fields_ + 6 * row_ * depth;
    T* const g = fields_ + 6 * row_ * (depth + 1);
    V low = broadcast<V>(T(1e30));
    for (int64_t i = 0; i < n; i += W) {
      V t, at[5];
      for (int j = 0; j < 5; ++j) at[j] = load<V>(f + j * row_ + i);
      V d = square_root(segment_distance2(broadcast<V>(x), broadcast<V>(y), at[0], at[1], at[2], at[3], at[4], t));
      for (int k = int(n - i); k < W; ++k) d[k] = T(1e30);
      store(distances_ + i, d);
      low = lower(low, d);
    }
    closest = -largest(-low);
    const T limit = closest + 2 * half_diagonal;
    int64_t kept = 0;
    for (int64_t i = 0; i < n; ++i) {
      for (int j = 0; j < 6; ++j) g[j * row_ + kept] = f[j * row_ + i];
      kept += distances_[i] <= limit;
    }
    return kept;
  }
  void node(int depth, int64_t cx, int64_t cy, int64_t n) {
    const double side = 2 * kHalfSide / double(int64_t(1) << depth);
    const T half_diagonal = T(side * 0.70711 * 1.0001);  // 1.0001: rounding never cuts a candidate off
    T closest;
    check_(double(n));
    const int64_t kept =
        prune(depth, T((double(cx) + 0.5) * side - kHalfSide), T((double(cy) + 0.5) * side - kHalfSide), half_diagonal, n, closest);
    const int size = grid_.level - depth;
    if (closest > T(size ? kFarUp : kFar) * half_diagonal) return fill(cx << size, cy << size, size, closest);
    if (size == 0) return list(cx, cy, depth + 1, kept);
    for (int child = 0; child < 4; ++child) node(depth + 1, 2 * cx + (child & 1), 2 * cy + (child >> 1), kept);
  }
  // All cells of a far node: the bound, lowered below what rounding could raise, with the node's size in its last four bits.
  void fill(int64_t x0, int64_t y0, int size, T bound) {
    const T lowered = bound * (T(1) - T(sizeof(T) == 4 ? 0x1p-18 : 0x1p-46));
    Int word;
    __builtin_memcpy(&word, &lowered, sizeof(Int));
    word = (word & ~Int(15)) | size;
    for (int64_t y = y0; y < y0 + (int64_t(1) << size); ++y)
      for (int64_t x = x0; x < x0 + (int64_t(1) << size); ++x) grid_.cells[(y << grid_.level) + x] = word;
  }
  void list(int64_t cx, int64_t cy, int depth, int64_t n) {
    if (grid_.listed + n + 1 > grid_.capacity) {
      const int64_t capacity = 2 * grid_.capacity + n;
      Int* longer = static_cast<Int*>(allocate(std::size_t(capacity) * sizeof(Int)));
      __builtin_memcpy(longer, grid_.lists, std::size_t(grid_.listed) * sizeof(Int));
      release(grid_.lists);
      grid_.lists = longer;
      grid_.capacity = capacity;
    }
    grid_.cells[(cy << grid_.level) + cx] = Int(grid_.listed) | (Int(1) << (8 * sizeof(Int) - 1));
    grid_.lists[grid_.listed++] = Int(n);
    const T* id = fields_ + 6 * row_ * depth + 5 * row_;
    for (int64_t i = 0; i < n; ++i) grid_.lists[grid_.listed++] = Int(id[i]);
  }

  Grid<T>& grid_;
  const Segments segments_;
  const int64_t row_;
  Scratch<T> fields_, distances_;
  InterruptCheck check_;
};

constexpr double kBuildNs = 2e6;  // 1024 segments on a grid of 512^2

template <class T>
void build_grids(const Segments* segments, const std::int64_t* levels, Grid<T>* const* grids, std::int64_t n, int threads) {
  parallel_for(n, threads, kBuildNs, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) GridBuilder<T>(segments[i], int(levels[i]), *grids[i]).build();
  });
}

template <class T>
void free_grid(Grid<T>& grid) {
  release(grid.records);
  release(grid.cells);
  release(grid.lists);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::polygon
