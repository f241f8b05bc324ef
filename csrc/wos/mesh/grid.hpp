// Distances from a mesh for walks. A cell stores a lower bound, or the few blocks that may be closest (README, The grid).
#pragma once
#include "core/run/memory.hpp"
#include "wos/mesh/locate.hpp"
#include "wos/polygon/grid.hpp"

namespace quatrefoil::wos::mesh {
inline namespace QF_ISA {

using polygon::kHalfSide;
using polygon::Seen;

constexpr double kFar = 4;           // half diagonals beyond which a cell is far; its bound is at least 3/5 of the distance
constexpr double kFarUp = 8;         // the same for nodes of several cells; their bounds are at least 7/9 of the distance
constexpr int kLargest = 3;          // log2 of the largest node's width in cells
constexpr int kMaxBlocks = 64;       // per list; if a cell would need more, its walks search the tree
constexpr int64_t kChunk = 1 << 16;  // list elements allocated together

// Fills cells. Several threads may fill the same cell at once: all write the same contents.
template <class T>
class Filler {
 public:
  using Int = Bits<T>;
  static constexpr Int kList = Int(Int(1) << (8 * sizeof(Int) - 2)) * -2;  // sign bit

  explicit Filler(Grid<T>& grid) : grid_(grid), search_(*grid.tree), side_(2 * kHalfSide / double(1 << grid.level)) {}

  // Fills an empty cell and returns its word: that of the largest far node around it, or of the cell alone (README, The grid).
  Int fill(const Int (&cell)[3]) const {
    T centre[3];
    middle(cell, 0, centre);
    const T bound = search_.distance_at_least(centre);
    for (int size = min(kLargest, grid_.level); size > 0; --size) {
      T of_node[3], away2 = 0;
      middle(cell, size, of_node);
      for (int j = 0; j < 3; ++j) away2 += (of_node[j] - centre[j]) * (of_node[j] - centre[j]);
      const double far = kFarUp * half_diagonal(size);
      if (double(bound) * (Search<T>::kLoss * (1 + 1e-5)) + double(square_root(away2)) <= far) continue;  // node_bound cannot exceed far
      const T node_bound = search_.distance_at_least(of_node);
      if (double(node_bound) > far) return fill_node(cell, size, lowered(node_bound));
    }
    const double far = kFar * half_diagonal(0);
    Int word;
    if (double(bound) > far) {
      word = far_word(lowered(bound), 0);
    } else {
      T best = Search<T>::kBeyond;
      int64_t position = -1;
      search_.closest(centre, best, position);
      const T distance = square_root(best);
      word = double(distance) > far ? far_word(lowered(distance), 0) : kList | list(centre, distance);
    }
    __atomic_store_n(&at(cell[0], cell[1], cell[2]), word, __ATOMIC_RELEASE);
    return word;
  }
  const Int* blocks_of(Int word) const {
    const Int index = word & ~kList;
    return __atomic_load_n(&grid_.chunks[index / kChunk], __ATOMIC_ACQUIRE) + index % kChunk;
  }

  // Writes the list at index 0, which means "search the tree".
  static int64_t begin_lists(Int* to) {
    to[0] = 0;
    end_list(to + 1), end_list(to + 3);
    return 5;
  }

 private:
  Int& at(Int x, Int y, Int z) const { return grid_.cells[(((int64_t(z) << grid_.level) + y) << grid_.level) + x]; }
  double half_diagonal(int size) const {  // factor 1.0001, so that rounding never excludes a candidate
    return side_ * double(1 << size) * (0.8660255 * 1.0001);
  }
  static T lowered(T bound) { return bound * (T(1) - T(sizeof(T) == 4 ? 0x1p-18 : 0x1p-46)); }
  static Int far_word(T bound, int size) { return (as_bits<Int>(bound) & ~Int(15)) | size; }

  void middle(const Int (&cell)[3], int size, T (&centre)[3]) const {
    for (int j = 0; j < 3; ++j) centre[j] = T((double(cell[j] >> size) + 0.5) * side_ * double(1 << size) - kHalfSide);
  }
  Int fill_node(const Int (&cell)[3], int size, T bound) const {
    const Int word = far_word(bound, size), n = Int(1) << size, low[3] = {cell[0] & -n, cell[1] & -n, cell[2] & -n};
    for (Int z = low[2]; z < low[2] + n; ++z)
      for (Int y = low[1]; y < low[1] + n; ++y)
        for (Int x = low[0]; x < low[0] + n; ++x) __atomic_store_n(&at(x, y, z), word, __ATOMIC_RELAXED);
    return word;
  }

  // (6) Lists the blocks that may contain the triangle closest to some point of the cell, nearest first. Returns the list's index, or 0 if
  // there are too many blocks.
  Int list(const T (&centre)[3], T distance) const {
    T near[kMaxBlocks];
    Int block[kMaxBlocks];
    int n = 0;
    bool fits = true;
    const T limit = T((double(distance) + 2 * half_diagonal(0)) * (1 + 1e-6));
    search_.within(limit * limit, centre, [&](int64_t b, T d2) {
      fits = fits && n < kMaxBlocks;
      if (!fits) return;
      const T d = lowered(square_root(d2));
      int k = n++;
      for (; k > 0 && near[k - 1] > d; --k) near[k] = near[k - 1], block[k] = block[k - 1];
      near[k] = d, block[k] = Int(b);
    });
    const Int index = fits ? claim(3 + 2 * n) : 0;
    if (index == 0) return 0;
    Int* const to = grid_.chunks[index / kChunk] + index % kChunk;
    to[0] = Int(n);
    for (int k = 0; k < n; ++k) to[1 + 2 * k] = block[k], to[2 + 2 * k] = as_bits<Int>(near[k]);
    end_list(to + 1 + 2 * n);
    return index;
  }
  // Writes an end marker with a distance beyond all others.
  static void end_list(Int* to) { to[0] = 0, to[1] = as_bits<Int>(T(1e15)); }
  // Reserves n elements; returns 0 if all chunks are full.
  Int claim(int64_t n) const {
    for (;;) {
      const int64_t index = __atomic_fetch_add(&grid_.used, n, __ATOMIC_RELAXED), chunk = index / kChunk;
      if (chunk >= grid_.chunk_count) return 0;
      if ((index + n - 1) / kChunk != chunk) continue;
      if (!__atomic_load_n(&grid_.chunks[chunk], __ATOMIC_ACQUIRE)) {
        Int* const fresh = static_cast<Int*>(allocate(kChunk * sizeof(Int)));
        Int* none = nullptr;
        if (!__atomic_compare_exchange_n(&grid_.chunks[chunk], &none, fresh, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) release(fresh);
      }
      return Int(index);
    }
  }

  Grid<T>& grid_;
  const Search<T> search_;
  const double side_;
};

// The domain of walks inside a mesh. Computes bounds for all lanes together; near the surface, visits one lane at a time.
template <class V>
class Mesh {
 public:
  static constexpr int D = 3;
  using T = Element<V>;
  using I = Bits<V>;
  using Int = Bits<T>;

  explicit Mesh(Grid<T>& grid)
      : grid_(grid),
        filler_(grid),
        search_(*grid.tree),
        scale_(T((1 << grid.level) / (2 * kHalfSide))),
        cell_(T(2 * kHalfSide / (1 << grid.level))) {}

  // Reads one word per lane and, near the surface, a list and one or two blocks of 1 kB. Skips inactive lanes.
  QF_HD Seen<V> look(const V (&x)[3], I active) const {
    const T low = T(-kHalfSide);
    I index[3], outside{};
    for (int j = 0; j < 3; ++j) {
      index[j] = cell_of(x[j] - low);
      outside |= (x[j] <= low) | (x[j] >= -low);
    }
    I word = gather(grid_.cells, (((index[2] << grid_.level) + index[1]) << grid_.level) + index[0]);
    const I searched = active & ~outside;
    if (const unsigned unknown = bits((word == 0) & searched)) word = fill(unknown, index, word);
    const I near = (word < 0) & searched, size = word < 0 ? I{} : word & 15;
    const V node = real((I{} + 1) << size) * cell_;
    V r2{};
    for (int j = 0; j < 3; ++j) {
      const V d = (x[j] - low) - (real(index[j] >> size) + T(0.5)) * node;
      r2 += d * d;
    }
    const V from_centre = square_root(r2);
    Seen<V> seen = {outside != 0 ? V{} : (V)word - from_centre, V{}, I{} - 1};
    if (const unsigned set = bits(near)) ask(set, x, word, from_centre, seen);
    return seen;
  }

  // Moves x, a walk's end, to the closest point, and writes the weights of the second and third corners. On entry, `primitive` is the
  // triangle's position in the tree, or -1; on return, the triangle's index.
  void project(T (&x)[3], Int& primitive, T (&weights)[2]) const {
    double corner[9];
    T weight[3];
    int64_t at = primitive;
    if (at < 0) {
      T best = Search<T>::kBeyond;
      search_.closest(x, best, at);
      if (at < 0) at = 0;
    }
    corners_of(*grid_.tree, at, corner);
    search_.weights(at, x, weight);
    for (int j = 0; j < 3; ++j)
      x[j] = T(double(weight[0]) * corner[j] + double(weight[1]) * corner[3 + j] + double(weight[2]) * corner[6 + j]);
    weights[0] = weight[1], weights[1] = weight[2];
    primitive = grid_.tree->ids[at];
  }
  static bool escaped(const T (&x)[3]) {
    for (int j = 0; j < 3; ++j)
      if (!(x[j] > T(-kHalfSide) && x[j] < T(kHalfSide))) return true;
    return false;
  }

 private:
  QF_HD static V real(I i) { return __builtin_convertvector(i, V); }
  QF_HD I cell_of(V from_low) const {
    const I i = __builtin_convertvector(from_low * scale_, I), last = I{} + Int((1 << grid_.level) - 1);
    const I positive = i > 0 ? i : I{};
    return positive < last ? positive : last;
  }
  I fill(unsigned unknown, const I (&index)[3], I word) const {
    for (; unknown; unknown &= unknown - 1) {
      const int l = __builtin_ctz(unknown);
      const Int cell[3] = {index[0][l], index[1][l], index[2][l]};
      word[l] = filler_.fill(cell);
    }
    return word;
  }
  // Computes exact distances: visits the blocks of a list until the next one is farther than the result so far. Visits block k of all lists
  // before block k + 1. The branch after a walk's last block is unpredictable; in this order the processor works on several walks between
  // two such branches.
  void ask(unsigned set, const V (&x)[3], I word, V from_centre, Seen<V>& seen) const {
    alignas(64) T at[3][kWidth<V>], away[kWidth<V>], radius[kWidth<V>];
    alignas(64) Int words[kWidth<V>], primitive[kWidth<V>];
    const Int* lists[kWidth<V>];
    for (int j = 0; j < 3; ++j) store(at[j], x[j]);
    store(away, from_centre), store(radius, seen.radius), store(words, word), store(primitive, seen.primitive);
    const auto look_into = [&](int l, Int k, T best, int64_t position) {
      const T here[3] = {at[0][l], at[1][l], at[2][l]};
      if (k == 0 && lists[l][0] == 0)
        search_.closest(here, best, position);
      else
        search_.in_block(lists[l][1 + 2 * k], here, best, position);
      radius[l] = best, primitive[l] = Int(position);
    };
    unsigned open = set;
    for (unsigned rest = open; rest; rest &= rest - 1) {  // prefetch all lists, which are scattered in memory
      const int l = __builtin_ctz(rest);
      fetch(lists[l] = filler_.blocks_of(words[l]), 2 * 64 / sizeof(Int));
    }
    for (unsigned rest = open; rest; rest &= rest - 1) look_into(__builtin_ctz(rest), 0, Search<T>::kBeyond, -1);
    for (Int k = 1; open; ++k) {
      unsigned further = 0;
      for (unsigned rest = open; rest; rest &= rest - 1) {
        const int l = __builtin_ctz(rest);
        const T bound = as_bits<T>(lists[l][2 + 2 * k]) - away[l];
        further |= unsigned((bound <= 0) | (bound * bound < radius[l])) << l;
      }
      open = further;
      for (unsigned rest = open; rest; rest &= rest - 1) {
        const int l = __builtin_ctz(rest);
        look_into(l, k, radius[l], primitive[l]);
      }
    }
    const V squares = load<V>(radius);
    seen.radius = load<I>(primitive) >= 0 ? square_root(squares) : squares;
    seen.primitive = load<I>(primitive);
  }

  Grid<T>& grid_;
  const Filler<T> filler_;
  const Search<T> search_;
  const T scale_, cell_;
};

template <class T>
void make_grid(const Tree<T>& tree, int level, Grid<T>& grid) {
  using Int = Bits<T>;
  const int64_t cells = int64_t(1) << (3 * level);
  grid.tree = &tree;
  grid.level = level;
  grid.cells = static_cast<Int*>(allocate(std::size_t(cells) * sizeof(Int)));
  set_zero(grid.cells, cells);
  // threads that fill the same list at the same time each need memory for it
  const int64_t capacity = cells * (3 + 2 * kMaxBlocks) / kChunk + 64;
  grid.chunks = static_cast<Int**>(allocate(std::size_t(capacity) * sizeof(Int*)));
  for (int64_t k = 0; k < capacity; ++k) grid.chunks[k] = nullptr;
  grid.chunk_count = capacity;
  grid.chunks[0] = static_cast<Int*>(allocate(kChunk * sizeof(Int)));
  grid.used = Filler<T>::begin_lists(grid.chunks[0]);
}

template <class T>
void free_grid(Grid<T>& grid) {
  for (int64_t k = 0; k < grid.chunk_count; ++k) release(grid.chunks[k]);
  release(grid.chunks);
  release(grid.cells);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::mesh
