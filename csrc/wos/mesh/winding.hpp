// Winding numbers of meshes with gaps. Approximates distant clusters of the tree by their moments. README (5), (5').
#pragma once
#include "core/lanes/elementary.hpp"
#include "core/run/parallel.hpp"
#include "wos/mesh/tree.hpp"

namespace quatrefoil::wos::mesh {
inline namespace QF_ISA {

constexpr double kAngleNs = 25;     // per W solid angles of triangles
constexpr double kWindingNs = 4e3;  // per winding number
constexpr double kFarRadii = 2.5;   // distance, in radii of a cluster, beyond which its moments are used
constexpr double kDoubt = 0.05;     // winding numbers closer than this to 1/2 are summed exactly

template <class T>
QF_HD void corners_of(const Tree<T>& tree, int64_t position, double (&corner)[9]) {
  const double* const c = tree.corners + position / kBlock * 9 * kBlock + position % kBlock;
  for (int j = 0; j < 9; ++j) corner[j] = c[j * kBlock];
}

// A group of triangles: area, centroid, sum of area vectors, sum of (a triangle's centroid - centroid) (its area vector)^T, and the radius
// of a ball around the centroid that contains them.
struct Cluster {
  double area = 0, at[3] = {4, 4, 4}, normal[3] = {}, spread[9] = {}, radius = 0;
};

template <class F>
Cluster united(int64_t n, const F& part) {
  Cluster all;
  for (int j = 0; j < 3; ++j) all.at[j] = 0;
  for (int64_t k = 0; k < n; ++k) {
    const Cluster one = part(k);
    all.area += one.area;
    for (int j = 0; j < 3; ++j) all.at[j] += one.area * one.at[j], all.normal[j] += one.normal[j];
  }
  for (int j = 0; j < 3; ++j) all.at[j] /= all.area;
  for (int64_t k = 0; k < n; ++k) {
    const Cluster one = part(k);
    double r2 = 0;
    for (int i = 0; i < 3; ++i) {
      const double off = one.at[i] - all.at[i];
      r2 += off * off;
      for (int j = 0; j < 3; ++j) all.spread[3 * i + j] += one.spread[3 * i + j] + off * one.normal[j];
    }
    all.radius = max(all.radius, square_root(r2) + one.radius);
  }
  return all;
}

inline Cluster cluster_of(const double (&c)[9]) {
  Cluster one;
  double e[2][3], n2 = 0;
  for (int j = 0; j < 3; ++j) {
    e[0][j] = c[3 + j] - c[j], e[1][j] = c[6 + j] - c[j];
    one.at[j] = (c[j] + c[3 + j] + c[6 + j]) * (1.0 / 3);
  }
  for (int j = 0; j < 3; ++j) {
    one.normal[j] = 0.5 * (e[0][(j + 1) % 3] * e[1][(j + 2) % 3] - e[0][(j + 2) % 3] * e[1][(j + 1) % 3]);
    n2 += one.normal[j] * one.normal[j];
  }
  one.area = max(square_root(n2), 1e-300);
  for (int k = 0; k < 3; ++k) {
    double r2 = 0;
    for (int j = 0; j < 3; ++j) r2 += (c[3 * k + j] - one.at[j]) * (c[3 * k + j] - one.at[j]);
    one.radius = max(one.radius, square_root(r2));
  }
  return one;
}

template <class T>
class Winding {
 public:
  explicit Winding(const Tree<T>& tree) : tree_(tree) {}

  // (5') The winding number; exact if it is near 1/2.
  double number(const double (&x)[3]) const {
    const double rough = half_solid_angle(tree_.levels, 0, x) * kTurn, off = (rough < 0 ? -rough : rough) - 0.5;
    return off > kDoubt || off < -kDoubt ? rough : exact(x);
  }
  // The moments of the children of all nodes, laid out like their boxes: (nodes, kMoments, 16). Free them with `release`.
  double* moments(int threads) const {
    const int64_t nodes = tree_.first[tree_.levels] + 1;
    double* const to = static_cast<double*>(allocate(std::size_t(nodes * kMoments * kBlock) * sizeof(double)));
    for (int level = 1; level <= tree_.levels; ++level)
      parallel_for(tree_.count[level] * kBlock, threads, 500, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t n = min<int64_t>(kBlock, (level > 1 ? tree_.count[level - 2] : tree_.M) - i * kBlock);
          const auto part = [&](int64_t k) {
            if (level > 1) return read(moments_of(to, level - 1, i) + k);
            double corner[9];
            corners_of(tree_, i * kBlock + k, corner);
            return cluster_of(corner);
          };
          write(n > 0 ? united(n, part) : Cluster(), moments_of(to, level, i / kBlock) + i % kBlock);
        }
      });
    return to;
  }

 private:
  static constexpr int W = Search<double>::W, kMoments = 17, kNormal = 3, kSpread = 6, kRadius = 15, kArea = 16;
  using V = Lanes<double, W>;
  static constexpr double kTurn = 1 / 6.283185307179586;  // winding number per half solid angle

  template <class E>
  E* moments_of(E* moments, int level, int64_t node) const {
    return moments + (tree_.first[level] + node) * kMoments * kBlock;
  }
  static Cluster read(const double* lane) {
    Cluster one;
    for (int j = 0; j < 3; ++j) one.at[j] = lane[j * kBlock], one.normal[j] = lane[(kNormal + j) * kBlock];
    for (int j = 0; j < 9; ++j) one.spread[j] = lane[(kSpread + j) * kBlock];
    one.radius = lane[kRadius * kBlock], one.area = lane[kArea * kBlock];
    return one;
  }
  static void write(const Cluster& one, double* lane) {
    for (int j = 0; j < 3; ++j) lane[j * kBlock] = one.at[j], lane[(kNormal + j) * kBlock] = one.normal[j];
    for (int j = 0; j < 9; ++j) lane[(kSpread + j) * kBlock] = one.spread[j];
    lane[kRadius * kBlock] = one.radius, lane[kArea * kBlock] = one.area;
  }

  double half_solid_angle(int level, int64_t node, const double (&x)[3]) const {
    const double* const m = moments_of(static_cast<const double*>(tree_.moments), level, node);
    V total{};
    unsigned near = 0;
    for (int offset = 0; offset < kBlock; offset += W) {
      const auto field = [&](int k) { return load<V>(m + k * kBlock + offset); };
      V d[3], r2{}, along{}, across{};
      for (int j = 0; j < 3; ++j) d[j] = field(j) - x[j], r2 += d[j] * d[j], along += d[j] * field(kNormal + j);
      for (int i = 0; i < 3; ++i)
        for (int j = 0; j < 3; ++j) across += d[i] * d[j] * field(kSpread + 3 * i + j);
      const V trace = field(kSpread) + field(kSpread + 4) + field(kSpread + 8), reach = field(kRadius) * kFarRadii;
      const auto far = r2 > reach * reach;
      const V safe = far ? r2 : broadcast<V>(1.0);
      const V value = (along + trace - 3 * across / safe) / (safe * square_root(safe));
      total += far ? value : V{};
      near |= (~bits(far) & ((1u << W) - 1)) << offset;
    }
    double result = 0.5 * sum(total);
    for (; near; near &= near - 1) {
      const int64_t child = node * kBlock + __builtin_ctz(near);
      if (child < tree_.count[level - 1]) result += level > 1 ? half_solid_angle(level - 1, child, x) : block_half_angle(child, x);
    }
    return result;
  }
  double exact(const double (&x)[3]) const {
    double total = 0;
    InterruptCheck check;
    for (int64_t block = 0; block < tree_.count[0]; ++block) {
      check(kAngleNs * kBlock / W);
      total += block_half_angle(block, x);
    }
    return total * kTurn;
  }
  // (5) Half of the solid angle of a block's triangles.
  double block_half_angle(int64_t block, const double (&x)[3]) const {
    const double* const c = tree_.corners + block * 9 * kBlock;
    const int64_t n = min<int64_t>(kBlock, tree_.M - block * kBlock);
    V total{};
    for (int offset = 0; offset < n; offset += W) {
      V p[3][3], length[3];
      for (int k = 0; k < 3; ++k) {
        length[k] = V{};
        for (int j = 0; j < 3; ++j) p[k][j] = load<V>(c + (3 * k + j) * kBlock + offset) - x[j], length[k] += p[k][j] * p[k][j];
        length[k] = square_root(length[k]);
      }
      const auto dot = [&](int a, int b) { return p[a][0] * p[b][0] + p[a][1] * p[b][1] + p[a][2] * p[b][2]; };
      const V det = p[0][0] * (p[1][1] * p[2][2] - p[1][2] * p[2][1]) + p[0][1] * (p[1][2] * p[2][0] - p[1][0] * p[2][2]) +
                    p[0][2] * (p[1][0] * p[2][1] - p[1][1] * p[2][0]);
      const V rest = length[0] * length[1] * length[2] + dot(0, 1) * length[2] + dot(1, 2) * length[0] + dot(2, 0) * length[1];
      const V size = square_root(V(det * det + rest * rest));
      const V half = elementary::angle(V(rest / size), V(det / size));
      for (int l = 0; l < W; ++l)
        if (offset + l < n && size[l] > 0) total[l] += half[l];
    }
    return sum(total);
  }

  const Tree<T>& tree_;
};

template <class T>
void build_moments(const Tree<T>& tree, int threads, Tree<T>& to) {
  to.moments = Winding<T>(tree).moments(threads);
}

// For a mesh with gaps: whether the absolute winding number is at least 1/2.
template <class T>
bool inside_open(const Tree<T>& tree, const double (&x)[3]) {
  const double winding_number = Winding<T>(tree).number(x);
  return winding_number * winding_number >= 0.25;
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::mesh
