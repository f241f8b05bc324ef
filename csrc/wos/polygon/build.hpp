// Builds the grid of a polygon as a tree whose nodes process up to 16 children at once, one per lane (README, The grid).
#pragma once
#include "core/run/parallel.hpp"
#include "wos/polygon/grid.hpp"

namespace quatrefoil::wos::polygon {
inline namespace QF_ISA {

constexpr double kFar = 6;  // half diagonals beyond which a leaf is far; its bound is at least 5/7 of the distance
// the same for larger nodes: their bounds are at least 7/9 of the distance, and finer nodes would cost more than the steps they save
constexpr double kFarUp = 8;
constexpr int64_t kClearUpTo = 256;  // segments; with more, they are short, and measuring takes O(M^2) time
constexpr int kSteps = 6;            // from the root to a leaf: two levels each, except perhaps the first

// One bit per cell: whether its centre is inside. Counts crossings along each row of centres, like `inside` in locate.hpp up to rounding.
// The bits are correct for cells that the boundary does not meet.
class InsideBits {
 public:
  explicit InsideBits(int level)
      : side_(int64_t(1) << level), words_((side_ + 63) / 64), bits_(side_ * words_), per_unit_(double(side_) / (2 * kHalfSide)) {
    __builtin_memset(bits_, 0, std::size_t(side_ * words_) * sizeof(uint64_t));
  }
  void cross(const double* s) {
    const bool up = s[1] < s[3];
    const int64_t first = next(up ? s[1] : s[3]), last = next(up ? s[3] : s[1]);  // both segments at a vertex compute the same row
    const double slope = (s[2] - s[0]) / (s[3] - s[1]);
    for (int64_t y = first; y < last; ++y) {
      const int64_t x = next(s[0] + ((double(y) + 0.5) / per_unit_ - kHalfSide - s[1]) * slope);
      if (x < side_) bits_[y * words_ + x / 64] ^= uint64_t(1) << (x % 64);
    }
  }
  // Replaces crossings by the parity of the crossings to the left. Call after all segments.
  void sum() {
    for (int64_t y = 0; y < side_; ++y) {
      uint64_t odd = 0;  // all bits equal the last bit of the previous word
      for (int64_t w = 0; w < words_; ++w) {
        uint64_t& b = bits_[y * words_ + w];
        for (int shift = 1; shift < 64; shift *= 2) b ^= b << shift;
        b ^= odd;
        odd = uint64_t(0) - (b >> 63);
      }
    }
  }
  bool operator()(int64_t x, int64_t y) const { return bits_[y * words_ + x / 64] >> (x % 64) & 1; }

 private:
  // The first cell whose centre is at or beyond a coordinate.
  int64_t next(double x) const {
    const double cells = (x + kHalfSide) * per_unit_ - 0.5;
    const int64_t below = cells < 0 ? 0 : cells < double(side_) ? int64_t(cells) : side_;
    return below + (double(below) < cells && below < side_);
  }
  const int64_t side_, words_;
  Scratch<uint64_t> bits_;
  const double per_unit_;
};

template <class T>
class GridBuilder {
 public:
  using V = Lanes<T>;
  using Int = Bits<T>;
  static constexpr int W = kLanes<T>;

  GridBuilder(const Segments& segments, int level, Grid<T>& grid)
      : grid_(grid),
        segments_(segments),
        inside_(level),
        ids_(segments.M * kSteps),
        masks_(segments.M * kSteps),
        distances_(segments.M * W) {
    grid.M = segments.M;
    grid.level = level;
    grid.records = static_cast<T*>(allocate(std::size_t(segments.M + 1) * kRecord * sizeof(T)));
    grid.cells = static_cast<Int*>(allocate((std::size_t(1) << (2 * level)) * sizeof(Int)));
    grid.capacity = max<int64_t>(1024, 64 * segments.M);
    grid.lists = static_cast<Int*>(allocate(std::size_t(grid.capacity) * sizeof(Int)));
  }
  void build() {
    const int64_t M = segments_.M;
    for (int64_t k = 0; k <= M; ++k) {
      T* r = grid_.records + kRecord * k;
      __builtin_memset(r, 0, kRecord * sizeof(T));
      if (k == M) {
        r[0] = r[1] = T(1e12);  // far away; its square fits float32
        break;
      }
      const double* s = segments_.ends + 4 * k;
      const double ex = s[2] - s[0], ey = s[3] - s[1];
      const double fields[5] = {s[0], s[1], ex, ey, 1 / (ex * ex + ey * ey)};
      for (int j = 0; j < 5; ++j) r[j] = T(fields[j]);
      ids_[k] = Int(k);
      inside_.cross(s);
    }
    inside_.sum();
    if (M <= kClearUpTo && segments_.closed) measure_clearances();
    grid_.lists[0] = 0;
    grid_.lists[1] = Int(M);
    grid_.listed = 2;
    split(0, 0, 0, 0, M);
  }

 private:
  struct Block {  // W children of a node
    V x, y;
    T closest[W];
  };

  // (4) Measures the clearances at each segment's three points, for W other segments at a time.
  void measure_clearances() {
    double total = 0, weighted = 0;
    for (int64_t k = 0; k < grid_.M; ++k) {
      T* const own = grid_.records + kRecord * k;
      for (int i = 0; i < 3; ++i) {
        const V x = broadcast<V>(own[0] + T(measured_at(i)) * own[2]), y = broadcast<V>(own[1] + T(measured_at(i)) * own[3]);
        V closest = broadcast<V>(T(1));
        for (int64_t first = 0; first < grid_.M; first += W) {
          V f[kRecord], t;
          alignas(64) Int at[W];
          for (int l = 0; l < W; ++l) at[l] = Int(first + l < grid_.M && first + l != k ? first + l : grid_.M);
          load_records<V>(grid_.records, at, f);
          closest = lower(closest, segment_distance2(x, y, f[0], f[1], f[2], f[3], f[4], t));
        }
        T min_d2 = 1;
        for (int l = 0; l < W; ++l) min_d2 = min(min_d2, T(closest[l]));
        own[5 + i] = square_root(min_d2) * (T(1) - T(sizeof(T) == 4 ? 0x1p-18 : 0x1p-46));
      }
      const double length = __builtin_sqrt(double(own[2]) * double(own[2]) + double(own[3]) * double(own[3]));
      total += length, weighted += length * double(own[6]);
    }
    grid_.clear = T(weighted / total);
  }

  // Processes the children of a node whose n candidates are row `row` of ids_, or the root itself if the grid is a single cell.
  void split(int row, int depth, int64_t cx, int64_t cy, int64_t n) {
    const int step = (grid_.level - depth) % 2 ? 1 : grid_.level > depth ? 2 : 0;
    const int64_t children = int64_t(1) << (2 * step);
    const double side = 2 * kHalfSide / double(int64_t(1) << (depth + step));
    const T half_diagonal = T(side * 0.70711 * 1.0001);  // factor 1.0001, so that rounding never excludes a candidate
    check_(double(n * children));
    for (int64_t first = 0; first < children; first += W) {
      Block block;
      alignas(64) T x[W], y[W];
      for (int l = 0; l < W; ++l) {
        const int64_t child = min(first + l, children - 1);
        x[l] = T((double((cx << step) + (child & ((1 << step) - 1))) + 0.5) * side - kHalfSide);
        y[l] = T((double((cy << step) + (child >> step)) + 0.5) * side - kHalfSide);
      }
      block.x = load<V>(x), block.y = load<V>(y);
      uint32_t* const masks = masks_ + row * segments_.M;
      measure(ids_ + row * segments_.M, n, half_diagonal, block, [&](int64_t k, uint32_t lanes) { masks[k] = lanes; });
      for (int l = 0; l < W && first + l < children; ++l) {
        const int64_t child = first + l, x = (cx << step) + (child & ((1 << step) - 1)), y = (cy << step) + (child >> step);
        descend(row, depth + step, x, y, n, l, block.closest[l], half_diagonal);
      }
    }
  }
  // Computes the distance of each lane's centre from the candidates. Calls keep(candidate, bits of the lanes that must keep it (2)).
  template <class F>
  void measure(const Int* ids, int64_t n, T half_diagonal, Block& block, F&& keep) {
    V low = broadcast<V>(T(1e30));
    for (int64_t k = 0; k < n; ++k) {
      const T* const r = grid_.records + kRecord * int64_t(ids[k]);
      V f[5], t;
      for (int j = 0; j < 5; ++j) f[j] = broadcast<V>(r[j]);
      const V d2 = segment_distance2(block.x, block.y, f[0], f[1], f[2], f[3], f[4], t);
      store(distances_ + W * k, d2);
      low = lower(low, d2);
    }
    const V closest = square_root(low), limit = closest + T(2) * half_diagonal, limit2 = limit * limit;
    store(block.closest, closest);
    for (int64_t k = 0; k < n; ++k) keep(k, bits(load<V>(distances_ + W * k) <= limit2));
  }
  void descend(int row, int depth, int64_t cx, int64_t cy, int64_t n, int lane, T closest, T half_diagonal) {
    const int size = grid_.level - depth;
    // only walks that rounding has moved outside reach these cells
    if (segments_.closed && closest > half_diagonal && !inside_(cx << size, cy << size)) return fill(cx, cy, size, T(0x1p-100), 0);
    if (closest > T(size ? kFarUp : kFar) * half_diagonal) {
      const T lowered = closest * (T(1) - T(sizeof(T) == 4 ? 0x1p-18 : 0x1p-46));
      return fill(cx, cy, size, lowered, size);
    }
    if (size > 0) return split(row + 1, depth, cx, cy, keep(row, n, lane, ids_ + (row + 1) * segments_.M));
    reserve(n + 1);
    grid_.cells[(cy << grid_.level) + cx] = Int(grid_.listed) | (Int(1) << (8 * sizeof(Int) - 1));
    Int* const list = grid_.lists + grid_.listed + 1;
    const int64_t length = thin(cx, cy, half_diagonal, list, keep(row, n, lane, list));
    grid_.lists[grid_.listed] = Int(length);
    grid_.listed += length + 1;
  }
  // Collects the candidates of a lane. `to` has space for all n.
  int64_t keep(int row, int64_t n, int lane, Int* to) const {
    const Int* const ids = ids_ + row * segments_.M;
    const uint32_t* const masks = masks_ + row * segments_.M;
    int64_t count = 0;
    for (int64_t k = 0; k < n; ++k) {
      to[count] = ids[k];
      count += masks[k] >> lane & 1;
    }
    return count;
  }
  // Drops candidates of a near cell that none of its 16 parts keeps (2), about half of them. Parts are 0.1 % larger, to allow for float32
  // rounding.
  int64_t thin(int64_t cx, int64_t cy, T half_diagonal, Int* list, int64_t n) {
    if (n <= 2) return n;
    const double side = 2 * kHalfSide / double(int64_t(4) << grid_.level);
    uint32_t* const masks = masks_ + (kSteps - 1) * segments_.M;  // this row is unused: leaves have no children
    __builtin_memset(masks, 0, std::size_t(n) * sizeof(uint32_t));
    for (int first = 0; first < 16; first += W) {
      Block block;
      alignas(64) T x[W], y[W];
      for (int l = 0; l < W; ++l) {
        x[l] = T((double(4 * cx + (first + l) % 4) + 0.5) * side - kHalfSide);
        y[l] = T((double(4 * cy + (first + l) / 4) + 0.5) * side - kHalfSide);
      }
      block.x = load<V>(x), block.y = load<V>(y);
      measure(list, n, half_diagonal * T(0.25025), block, [&](int64_t k, uint32_t lanes) { masks[k] |= lanes; });
    }
    int64_t count = 0;
    for (int64_t k = 0; k < n; ++k) {
      list[count] = list[k];
      count += masks[k] != 0;
    }
    return count;
  }
  // Fills all cells of a node with a bound. The lowest four bits of a word are the node's size.
  void fill(int64_t cx, int64_t cy, int size, T bound, int node_size) {
    Int word;
    __builtin_memcpy(&word, &bound, sizeof(Int));
    word = (word & ~Int(15)) | node_size;
    const int64_t cells = int64_t(1) << size;
    for (int64_t y = cy << size; y < (cy << size) + cells; ++y) {
      Int* const line = grid_.cells + (y << grid_.level) + (cx << size);
      for (int64_t x = 0; x < cells; ++x) line[x] = word;
    }
  }
  void reserve(int64_t more) {
    if (grid_.listed + more <= grid_.capacity) return;
    const int64_t capacity = 2 * grid_.capacity + more;
    Int* longer = static_cast<Int*>(allocate(std::size_t(capacity) * sizeof(Int)));
    __builtin_memcpy(longer, grid_.lists, std::size_t(grid_.listed) * sizeof(Int));
    release(grid_.lists);
    grid_.lists = longer;
    grid_.capacity = capacity;
  }

  Grid<T>& grid_;
  const Segments segments_;
  InsideBits inside_;
  Scratch<Int> ids_;         // (kSteps, M): candidates of the nodes above a leaf
  Scratch<uint32_t> masks_;  // (kSteps, M): the children that keep each candidate
  Scratch<T> distances_;     // (M, W): squared distances for the current node
  InterruptCheck check_;
};

constexpr double kBuildNs = 1e6;  // for 1024 segments on a grid of 512^2 cells

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
