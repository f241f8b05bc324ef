// Searches a tree for the closest triangle, or for the blocks above a point: one point at a time, 16 boxes or triangles at once.
#pragma once
#include "core/run/interrupt.hpp"
#include "wos/mesh/args.hpp"
#include "wos/mesh/formula.hpp"

namespace quatrefoil::wos::mesh {
inline namespace QF_ISA {

template <class T>
class Search {
 public:
  static constexpr int W = kLanes<T> < kBlock ? kLanes<T> : kBlock;  // a block has kBlock / W vectors
  using V = Lanes<T, W>;
  static constexpr T kBeyond = T(1e30);  // larger than all squared distances, except those of absent children

  explicit Search(const Tree<T>& tree) : tree_(tree) {}

  // Searches for the closest triangle. If one is closer than `best`, lowers `best` to its squared distance and sets `position` to its
  // position in the tree, 16 block + lane; ties go to the lowest index. The initial `best` may be the squared distance to any triangle.
  void closest(const T (&x)[3], T& best, int64_t& position) const { visit<true>(tree_.levels, 0, x, best, position); }

  // A lower bound on the distance: the distance to the closest box of a block divided by kLoss. The search skips boxes that could lower it
  // by less than a factor of kLoss. Meshes with few, large blocks use the exact distance.
  static constexpr T kLoss = T(1.0625);
  static constexpr int64_t kMaxExactBlocks = 256;
  T distance_at_least(const T (&x)[3]) const {
    T best = kBeyond;
    int64_t position = -1;
    if (tree_.count[0] <= kMaxExactBlocks) {
      visit<true>(tree_.levels, 0, x, best, position);
      return square_root(best);
    }
    visit<false>(tree_.levels, 0, x, best, position);
    return square_root(best) * (T(1) / kLoss);
  }

  // Like `closest`, within one block.
  QF_HD void in_block(int64_t block, const T (&x)[3], T& best, int64_t& position) const {
    for (int offset = 0; offset < kBlock; offset += W) {
      const V d2 = distances2(block, offset, x);
      const T nearest2 = smallest(d2);
      const int64_t at = block * kBlock + offset + __builtin_ctz(bits(d2 <= nearest2) | 1u << (W - 1));  // the last lane handles NaN
      const bool closer = nearest2 < best || (nearest2 == best && position >= 0 && tree_.ids[at] < tree_.ids[position]);
      position = closer ? at : position;
      best = closer ? nearest2 : best;
    }
  }
  QF_HD T block_distance2(int64_t block, const T (&x)[3]) const {
    T nearest2 = kBeyond;
    for (int offset = 0; offset < kBlock; offset += W) nearest2 = min(nearest2, smallest(distances2(block, offset, x)));
    return nearest2;
  }

  // The barycentric weights of the point closest to x on the triangle at `position`.
  void weights(int64_t position, const T (&x)[3], T (&weight)[3]) const {
    const T* const r = tree_.records + position / kBlock * kFields * kBlock + position % kBlock;
    const auto field = [&](int k) { return r[k * kBlock]; };
    Local<T> at = local<T>(x, field);
    triangle_distance2<true, T>(at, field);
    T rotated[3];
    triangle_weights(at.u, at.v, field(kLength), field(kX), field(kY), rotated);
    for (int k = 0; k < 3; ++k) weight[(tree_.rotation[position] + k) % 3] = rotated[k];
  }

  // Calls f(block, its squared distance) for every block closer than limit2.
  template <class F>
  void within(T limit2, const T (&x)[3], F&& f) const {
    visit_within(tree_.levels, 0, limit2, x, f);
  }

  // Calls f(block) for every block whose box meets the upward ray from x.
  template <class F>
  void above(const T (&x)[3], F&& f) const {
    visit_above(tree_.levels, 0, x, f);
  }

 private:
  QF_HD V distances2(int64_t block, int offset, const T (&x)[3]) const {
    const T* const r = tree_.records + block * kFields * kBlock + offset;
    const auto field = [&](int k) { return load<V>(r + k * kBlock); };
    V at[3];
    for (int j = 0; j < 3; ++j) at[j] = broadcast<V>(x[j]);
    Local<V> here = local<V>(at, field);
    return triangle_distance2<false, V>(here, field);
  }
  const T* boxes(int level, int64_t node) const { return tree_.boxes + (tree_.first[level] + node) * 6 * kBlock; }
  QF_HD void box_distances2(int level, int64_t node, const T (&x)[3], T (&d2)[kBlock]) const {
    const T* const box = boxes(level, node);
    for (int offset = 0; offset < kBlock; offset += W) {
      V sum{};
      for (int j = 0; j < 3; ++j) {
        const V below = load<V>(box + j * kBlock + offset) - x[j], above = x[j] - load<V>(box + (3 + j) * kBlock + offset);
        V out = higher(below, above);
        out = out > T(0) ? out : V{};
        sum += out * out;
      }
      store(d2 + offset, sum);
    }
  }
  // Removes the nearest of 16 children and returns its squared distance.
  QF_HD static T take_nearest(T (&d2)[kBlock], int& child) {
    V low = load<V>(d2);
    for (int offset = W; offset < kBlock; offset += W) low = lower(low, load<V>(d2 + offset));
    const T nearest2 = smallest(low);
    for (int offset = 0; offset < kBlock; offset += W)
      if (const unsigned hit = bits(load<V>(d2 + offset) <= nearest2)) {
        child = offset + __builtin_ctz(hit);
        d2[child] = 4 * kBeyond;
        return nearest2;
      }
    return 4 * kBeyond;  // all are NaN
  }

  // Descends to triangles, or to the boxes of blocks.
  template <bool triangles>
  void visit(int level, int64_t node, const T (&x)[3], T& best, int64_t& position) const {
    alignas(64) T d2[kBlock];
    box_distances2(level, node, x, d2);
    for (;;) {
      int child = 0;
      const T nearest2 = take_nearest(d2, child);
      if (!((triangles ? nearest2 : nearest2 * (kLoss * kLoss)) <= best)) return;
      if (level > 1) {
        visit<triangles>(level - 1, node * kBlock + child, x, best, position);
      } else if (triangles) {
        in_block(node * kBlock + child, x, best, position);
      } else {
        best = min(best, nearest2);
        return;
      }
    }
  }
  template <class F>
  void visit_within(int level, int64_t node, T limit2, const T (&x)[3], F& f) const {
    alignas(64) T d2[kBlock];
    box_distances2(level, node, x, d2);
    for (int child = 0; child < kBlock; ++child) {
      if (!(d2[child] <= limit2)) continue;
      const int64_t below = node * kBlock + child;
      if (level > 1) {
        visit_within(level - 1, below, limit2, x, f);
      } else {
        const T d = block_distance2(below, x);
        if (d <= limit2) f(below, d);
      }
    }
  }
  template <class F>
  void visit_above(int level, int64_t node, const T (&x)[3], F& f) const {
    const T* const box = boxes(level, node);
    for (int offset = 0; offset < kBlock; offset += W) {
      const auto side = [&](int k) { return load<V>(box + k * kBlock + offset); };
      unsigned hit = bits((side(0) <= x[0]) & (side(3) >= x[0]) & (side(1) <= x[1]) & (side(4) >= x[1]) & (side(5) >= x[2]));
      for (; hit; hit &= hit - 1) {
        const int64_t below = node * kBlock + offset + __builtin_ctz(hit);
        level > 1 ? visit_above(level - 1, below, x, f) : f(below);
      }
    }
  }

  const Tree<T>& tree_;
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::mesh
