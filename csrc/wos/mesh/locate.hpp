// Exact queries of one mesh in double precision: closest point, and inside or outside.
#pragma once
#include "wos/mesh/winding.hpp"

namespace quatrefoil::wos::mesh {
inline namespace QF_ISA {

// Returns the distance from x to the mesh. Writes the closest triangle's position in the tree, the closest point `at`, and its barycentric
// weights. On entry, `position` is a guess, or -1. Searches in T, then computes the results in double precision.
template <class T>
double closest(const Tree<T>& tree, const double (&x)[3], int64_t& position, double (&weight)[3], double (&at)[3]) {
  const Search<T> search(tree);
  T from[3], best = Search<T>::kBeyond;
  for (int j = 0; j < 3; ++j) from[j] = T(x[j]);
  const int64_t guess = position;
  position = -1;
  if (guess >= 0) search.in_block(guess / kBlock, from, best, position);
  search.closest(from, best, position);
  if (position < 0) position = 0;
  double corner[9];
  corners_of(tree, position, corner);
  const double d2 = closest_on_triangle(x, corner, weight);
  for (int j = 0; j < 3; ++j) at[j] = weight[0] * corner[j] + weight[1] * corner[3 + j] + weight[2] * corner[6 + j];
  return square_root(d2);
}

// (4) Whether the ray from x in the direction +z crosses the triangle. Two triangles that share an edge compute the same sign for it.
QF_HD bool goes_through(const double (&x)[3], const double (&c)[9]) {
  int crossings = 0, sides = 0;
  double along[2] = {}, height[2] = {};
  for (int k = 0; k < 3; ++k) {
    const double *a = c + 3 * k, *b = c + 3 * ((k + 1) % 3);
    if ((a[1] <= x[1]) == (b[1] <= x[1])) continue;
    const double *low = a[1] <= x[1] ? a : b, *high = a[1] <= x[1] ? b : a;
    const double side = multiply_add(high[0] - low[0], x[1] - low[1], -((x[0] - low[0]) * (high[1] - low[1])));
    const double t = (x[1] - low[1]) / (high[1] - low[1]);
    crossings += side > 0;
    if (sides < 2) along[sides] = low[0] + t * (high[0] - low[0]), height[sides] = low[2] + t * (high[2] - low[2]);
    ++sides;
  }
  if (crossings != 1) return false;
  const double width = along[1] - along[0];
  const double s = width * width > 0 ? min(max((x[0] - along[0]) / width, 0.0), 1.0) : 0.5;
  return height[0] + s * (height[1] - height[0]) > x[2];
}

// For a closed mesh: whether the number of triangles above x is odd.
template <class T>
bool inside_closed(const Tree<T>& tree, const double (&x)[3]) {
  constexpr int W = Search<double>::W;
  using V = Lanes<double, W>;
  T from[3];
  for (int j = 0; j < 3; ++j) from[j] = T(x[j]);
  int above = 0;
  Search<T>(tree).above(from, [&](int64_t block) {
    const double* const c = tree.corners + block * 9 * kBlock;
    const int64_t n = min<int64_t>(kBlock, tree.M - block * kBlock);
    for (int offset = 0; offset < kBlock; offset += W) {
      const auto corner = [&](int k) { return load<V>(c + k * kBlock + offset); };
      const auto low = [&](int j) { return lower(corner(j), lower(corner(3 + j), corner(6 + j))); };
      const auto high = [&](int j) { return higher(corner(j), higher(corner(3 + j), corner(6 + j))); };
      unsigned hit = bits((low(0) <= x[0]) & (high(0) >= x[0]) & (low(1) <= x[1]) & (high(1) >= x[1]) & (high(2) >= x[2]));
      for (; hit; hit &= hit - 1) {
        const int64_t lane = offset + __builtin_ctz(hit);
        if (lane >= n) break;
        double one[9];
        corners_of(tree, block * kBlock + lane, one);
        above += goes_through(x, one);
      }
    }
  });
  return above & 1;
}

// Returns true if x is inside, or outside by at most epsilon; then x moves to the closest point of the boundary. `outside` swaps the sides.
template <class T>
bool keep_in_mesh(const Tree<T>& tree, bool closed, bool outside, double epsilon, double* x) {
  const double from[3] = {x[0], x[1], x[2]};
  if ((closed ? inside_closed(tree, from) : inside_open(tree, from)) != outside) return true;
  int64_t position = -1;
  double weight[3], at[3];
  if (!(closest(tree, from, position, weight, at) <= epsilon)) return false;
  for (int j = 0; j < 3; ++j) x[j] = at[j];
  return true;
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::mesh
