// A mesh with the trees that calls have built, which a Python boundary caches between calls.
#pragma once
#include <cmath>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "core/host/isa.hpp"
#include "core/host/shape_checker.hpp"
#include "py/cache_mutex.hpp"
#include "py/caster.hpp"
#include "wos/mesh/args.hpp"

QF_TABLE(wos, mesh)

namespace quatrefoil::wos::mesh {

template <class T>
struct OwnedTree : Tree<T> {
  OwnedTree() = default;
  OwnedTree(const OwnedTree&) = delete;
  OwnedTree& operator=(const OwnedTree&) = delete;
  ~OwnedTree() { kernels<T>().free_tree(*this); }
};

template <class T>
struct OwnedGrid : Grid<T> {
  explicit OwnedGrid(std::shared_ptr<OwnedTree<T>> tree) : owned_tree(std::move(tree)) {}
  OwnedGrid(const OwnedGrid&) = delete;
  OwnedGrid& operator=(const OwnedGrid&) = delete;
  ~OwnedGrid() { kernels<T>().free_grid(*this); }
  std::shared_ptr<OwnedTree<T>> owned_tree;
};

// log2 of the grid's side: 8 to 128 cells, each about the size of two triangles. The side has fewer cells for a large epsilon, because the
// smallest bound of a cell, 3 half diagonals or 2.6 cells, must exceed epsilon.
inline int grid_level(std::int64_t M, double epsilon) {
  int by_size = 3;
  while (by_size < 7 && double(M) > 7.1 * double(std::int64_t(1) << (2 * by_size))) ++by_size;
  const double by_epsilon = std::floor(std::log2(2.5 / epsilon));
  return by_epsilon < by_size ? std::max(0, int(by_epsilon)) : by_size;
}

constexpr std::int64_t kMaxTriangles = 1LL << 27;  // positions in the tree are 32-bit integers

// The triangles of a mesh in scaled coordinates, with the trees and grids that calls have used. Thread-safe.
class Mesh {
 public:
  // corners (M, 9), float64. The caller has checked shape and type.
  Mesh(const ShapeChecker& checker, const View& corners) : corners_(corners.as<double>(), corners.as<double>() + corners.size()) {
    checker.require(count() >= 1 && count() < kMaxTriangles, "expected between 1 and 2^27 - 1 triangles");
    for (double x : corners_) checker.require(x >= -2 && x <= 2, "corners must be scaled to [-2, 2]");
  }
  std::int64_t count() const { return std::int64_t(corners_.size()) / 9; }

  // The tree, built by the first call. If `moments`, it includes the moments for winding numbers. Call without the GIL.
  template <class T>
  std::shared_ptr<OwnedTree<T>> tree(int threads, bool moments) {
    const auto result = tree<T>(threads);
    if (!moments) return result;
    {
      std::lock_guard<std::mutex> lock(cache_mutex());
      if (result->moments) return result;
    }
    OwnedTree<T> fresh;
    kernels<T>().build_moments(*result, threads, fresh);
    std::lock_guard<std::mutex> lock(cache_mutex());
    if (!result->moments) std::swap(result->moments, fresh.moments);
    return result;
  }
  template <class T>
  std::shared_ptr<OwnedTree<T>> tree(int threads) {
    {
      std::lock_guard<std::mutex> lock(cache_mutex());
      if (cached_tree<T>()) return cached_tree<T>();
    }
    auto result = std::make_shared<OwnedTree<T>>();
    kernels<T>().build_tree({corners_.data(), count()}, *result, threads);
    std::lock_guard<std::mutex> lock(cache_mutex());
    if (!cached_tree<T>()) cached_tree<T>() = result;
    return cached_tree<T>();
  }
  // The grid at this level, with the cells that walks have filled so far. Call without the GIL.
  template <class T>
  std::shared_ptr<OwnedGrid<T>> grid(int level, int threads) {
    {
      std::lock_guard<std::mutex> lock(cache_mutex());
      const auto here = grids<T>().find(level);
      if (here != grids<T>().end()) return here->second;
    }
    auto result = std::make_shared<OwnedGrid<T>>(tree<T>(threads));
    kernels<T>().make_grid(*result->owned_tree, level, *result);
    std::lock_guard<std::mutex> lock(cache_mutex());
    return grids<T>().emplace(level, result).first->second;
  }

 private:
  template <class T>
  std::shared_ptr<OwnedTree<T>>& cached_tree() {
    if constexpr (sizeof(T) == 4)
      return f32_;
    else
      return f64_;
  }
  template <class T>
  std::map<int, std::shared_ptr<OwnedGrid<T>>>& grids() {
    if constexpr (sizeof(T) == 4)
      return grids_f32_;
    else
      return grids_f64_;
  }
  std::vector<double> corners_;
  std::shared_ptr<OwnedTree<float>> f32_;
  std::shared_ptr<OwnedTree<double>> f64_;
  std::map<int, std::shared_ptr<OwnedGrid<float>>> grids_f32_;
  std::map<int, std::shared_ptr<OwnedGrid<double>>> grids_f64_;
};

}  // namespace quatrefoil::wos::mesh
