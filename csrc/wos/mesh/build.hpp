// Builds the tree by splitting across the longest side of the box, down to blocks of 16 (README, The tree).
#pragma once
#include "core/run/parallel.hpp"
#include "wos/mesh/args.hpp"
#include "wos/mesh/formula.hpp"

namespace quatrefoil::wos::mesh {
inline namespace QF_ISA {

constexpr double kSplitNs = 6;    // per triangle and split
constexpr double kRecordNs = 60;  // per triangle of a block

// A triangle's index and twice the centre of its box.
struct Middle {
  float at[3];
  std::int32_t id;
};

// Moves the k < n elements with the lowest coordinates to the front (Hoare's selection). Swaps equal values too, which spreads them evenly.
inline void select_lowest(Middle* m, int64_t n, int64_t k, int axis) {
  int64_t low = 0, high = n - 1;
  while (low < high) {
    const float a = m[low].at[axis], b = m[(low + high) / 2].at[axis], c = m[high].at[axis];
    const float pivot = max(min(a, b), min(max(a, b), c));
    int64_t i = low, j = high;
    while (i <= j) {
      while (m[i].at[axis] < pivot) ++i;
      while (m[j].at[axis] > pivot) --j;
      if (i > j) break;
      const Middle t = m[i];
      m[i++] = m[j];
      m[j--] = t;
    }
    if (k <= j)
      high = j;
    else if (k >= i)
      low = i;
    else
      return;
  }
}

inline int longest_axis(const Middle* m, int64_t n) {
  float low[3] = {1e30f, 1e30f, 1e30f}, high[3] = {-1e30f, -1e30f, -1e30f};
  for (int64_t i = 0; i < n; ++i)
    for (int j = 0; j < 3; ++j) low[j] = min(low[j], m[i].at[j]), high[j] = max(high[j], m[i].at[j]);
  int axis = 0;
  for (int j = 1; j < 3; ++j)
    if (high[j] - low[j] > high[axis] - low[axis]) axis = j;
  return axis;
}

// Orders n triangles into compact groups of `unit`.
inline void split(Middle* m, int64_t n, int64_t unit) {
  while (n > unit) {
    const int64_t units = (n + unit - 1) / unit, left = (units + 1) / 2 * unit;
    check_interrupt(double(n) * kSplitNs);
    select_lowest(m, n, left, longest_axis(m, n));
    split(m, left, unit);
    m += left, n -= left;
  }
}
inline void split_down(Middle* m, int64_t n, int64_t unit) {
  split(m, n, unit);
  for (int64_t at = 0; unit > kBlock && at < n; at += unit) split_down(m + at, min(unit, n - at), unit / kBlock);
}

template <class T>
class TreeBuilder {
 public:
  TreeBuilder(const Triangles& triangles, Tree<T>& tree, int threads)
      : triangles_(triangles), tree_(tree), threads_(threads), middle_(triangles.M) {
    const int64_t blocks = (triangles.M + kBlock - 1) / kBlock;
    tree.M = triangles.M;
    tree.count[0] = blocks;
    int64_t nodes = 0;
    do {
      const int64_t below = tree.count[tree.levels++];
      tree.first[tree.levels] = nodes;
      nodes += tree.count[tree.levels] = (below + kBlock - 1) / kBlock;
    } while (tree.count[tree.levels] > 1);
    tree.records = numbers<T>(blocks * kFields * kBlock);
    tree.corners = numbers<double>(blocks * 9 * kBlock);
    tree.ids = numbers<std::int32_t>(blocks * kBlock);
    tree.rotation = numbers<std::int8_t>(blocks * kBlock);
    tree.boxes = numbers<T>(nodes * 6 * kBlock);
  }
  void build() {
    order();
    blocks();
    for (int level = 2; level <= tree_.levels; ++level) nodes(level);
  }

 private:
  template <class E>
  static E* numbers(int64_t n) {
    return static_cast<E*>(allocate(std::size_t(n) * sizeof(E)));
  }
  void order() {
    const int64_t M = triangles_.M;
    Middle* const m = middle_;
    parallel_for(M, threads_, 5, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const double* const c = triangles_.corners + 9 * i;
        m[i].id = std::int32_t(i);
        for (int j = 0; j < 3; ++j) m[i].at[j] = float(min(c[j], min(c[3 + j], c[6 + j])) + max(c[j], max(c[3 + j], c[6 + j])));
      }
    });
    int64_t unit = kBlock;
    for (int k = 1; k < tree_.levels; ++k) unit *= kBlock;
    split(m, M, unit);
    const int64_t parts = (M + unit - 1) / unit;
    if (unit > kBlock)
      parallel_for(parts, threads_, double(unit) * 8 * kSplitNs, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) split_down(m + i * unit, min(unit, M - i * unit), unit / kBlock);
      });
  }
  // Boxes enclose the triangles as rounded to T, with a small margin.
  void blocks() {
    parallel_for(tree_.count[0], threads_, kBlock * kRecordNs, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) block(b);
    });
  }
  void block(int64_t b) {
    Middle* const m = middle_ + b * kBlock;
    const int64_t n = min<int64_t>(kBlock, triangles_.M - b * kBlock);
    for (int64_t i = 1; i < n; ++i)  // sorts by index, so that the lowest index wins a tie
      for (int64_t k = i; k > 0 && m[k - 1].id > m[k].id; --k) {
        const Middle t = m[k];
        m[k] = m[k - 1];
        m[k - 1] = t;
      }
    double low[3] = {1e30, 1e30, 1e30}, high[3] = {-1e30, -1e30, -1e30};
    for (int64_t i = 0; i < kBlock; ++i) {
      const std::int32_t id = m[min(i, n - 1)].id;
      tree_.ids[b * kBlock + i] = id;
      double corner[9], r[kFields];
      for (int j = 0; j < 9; ++j) {
        corner[j] = triangles_.corners[9 * int64_t(id) + j];
        tree_.corners[(b * 9 + j) * kBlock + i] = corner[j];
        low[j % 3] = min(low[j % 3], corner[j]), high[j % 3] = max(high[j % 3], corner[j]);
      }
      tree_.rotation[b * kBlock + i] = std::int8_t(triangle_record(corner, r));
      for (int j = 0; j < kFields; ++j) tree_.records[(b * kFields + j) * kBlock + i] = T(r[j]);
    }
    constexpr double slack = sizeof(T) == 4 ? 0x1p-22 : 0x1p-50;
    T* const box = boxes(1, b / kBlock) + b % kBlock;
    for (int j = 0; j < 3; ++j) box[j * kBlock] = T(low[j] - slack), box[(3 + j) * kBlock] = T(high[j] + slack);
    if (b + 1 == tree_.count[0]) absent(1, b + 1);
  }
  void nodes(int level) {
    parallel_for(tree_.count[level - 1], threads_, 50, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const T* const below = boxes(level - 1, i);
        T* const box = boxes(level, i / kBlock) + i % kBlock;
        for (int j = 0; j < 3; ++j) {
          T low = below[j * kBlock], high = below[(3 + j) * kBlock];
          for (int c = 1; c < kBlock; ++c) low = min(low, below[j * kBlock + c]), high = max(high, below[(3 + j) * kBlock + c]);
          box[j * kBlock] = low, box[(3 + j) * kBlock] = high;
        }
        if (i + 1 == tree_.count[level - 1]) absent(level, i + 1);
      }
    });
  }
  // Gives absent children boxes that are farther away than any other and meet no ray.
  void absent(int level, int64_t from) {
    for (int64_t i = from; i % kBlock; ++i)
      for (int j = 0; j < 3; ++j) {
        T* const box = boxes(level, i / kBlock) + i % kBlock;
        box[j * kBlock] = T(1e15), box[(3 + j) * kBlock] = T(-1e15);
      }
  }
  T* boxes(int level, int64_t node) const { return tree_.boxes + (tree_.first[level] + node) * 6 * kBlock; }

  const Triangles triangles_;
  Tree<T>& tree_;
  const int threads_;
  Scratch<Middle> middle_;
};

template <class T>
void build_tree(const Triangles& triangles, Tree<T>& tree, int threads) {
  TreeBuilder<T>(triangles, tree, threads).build();
}

template <class T>
void free_tree(Tree<T>& tree) {
  release(tree.records);
  release(tree.corners);
  release(tree.ids);
  release(tree.rotation);
  release(tree.boxes);
  release(tree.moments);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::mesh
