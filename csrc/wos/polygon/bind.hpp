// B polygons with the grids of earlier walks, which a Python boundary caches between calls.
#pragma once
#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <vector>

#include "core/host/isa.hpp"
#include "core/host/shape_checker.hpp"
#include "py/cache_mutex.hpp"
#include "py/caster.hpp"
#include "wos/data/bind.hpp"
#include "wos/polygon/args.hpp"

QF_TABLE(wos, polygon)

namespace quatrefoil::wos::polygon {

template <class T>
struct OwnedGrid : Grid<T> {
  OwnedGrid() = default;
  OwnedGrid(const OwnedGrid&) = delete;
  OwnedGrid& operator=(const OwnedGrid&) = delete;
  ~OwnedGrid() { kernels<T>().free_grid(*this); }
};

constexpr std::int64_t kMaxSegments = 1 << 24;  // largest count that float32 represents exactly
constexpr std::size_t kCachedGrids = 64;        // calls that need more grids rebuild them every time

// log2 of the grid's side: 32 to 512 cells, depending on the number of segments. The grid is coarser for a large epsilon, because the
// smallest bound of a leaf, 5 half diagonals or 3.5 cells, must exceed epsilon.
inline std::int64_t grid_level(std::int64_t M, double epsilon) {
  std::int64_t by_size = 5;
  while (by_size < 9 && (std::int64_t(1) << by_size) < M) ++by_size;
  const double by_epsilon = std::floor(std::log2(3.5 / epsilon));
  return by_epsilon < double(by_size) ? std::max<std::int64_t>(0, std::int64_t(by_epsilon)) : by_size;
}

// The segments of polygons in scaled coordinates, with a cache of grids. Thread-safe.
class Polygons {
 public:
  // ends (M, 4), float64; first (count + 1,), int64. The caller has checked shapes and types. closed = false: only some segments.
  Polygons(const ShapeChecker& checker, const View& ends, const View& first, bool closed = true)
      : ends_(ends.as<double>(), ends.as<double>() + ends.size()),
        first_(first.as<std::int64_t>(), first.as<std::int64_t>() + first.size()),
        closed_(closed) {
    checker.require(first_.front() == 0 && first_.back() == ends.shape[0], "first must start with 0 and end with the number of segments");
    for (std::int64_t b = 0; b < count(); ++b) {
      const std::int64_t M = first_[std::size_t(b + 1)] - first_[std::size_t(b)];
      checker.require(M > 0 && M < kMaxSegments, "expected between 1 and 2^24 - 1 segments per polygon");
    }
  }

  std::int64_t count() const { return std::int64_t(first_.size()) - 1; }
  std::int64_t total() const { return first_.back(); }
  std::int64_t first(std::int64_t b) const { return first_[std::size_t(b)]; }
  data::Facets facets() const { return {first_.data(), count(), total()}; }
  Segments segments(std::int64_t b) const { return {ends_.data() + 4 * first(b), first(b + 1) - first(b), closed_}; }

  // The grids of these polygons at these levels, cached or new. Call without the GIL.
  template <class T>
  std::vector<std::shared_ptr<OwnedGrid<T>>> grids(const std::vector<std::int64_t>& polygons, const std::vector<std::int64_t>& levels,
                                                   int threads) {
    std::vector<std::shared_ptr<OwnedGrid<T>>> result;
    std::vector<std::int64_t> missing_levels;
    std::vector<Segments> sides;
    std::vector<Grid<T>*> fresh;
    Cache<T> built;
    {
      std::lock_guard<std::mutex> lock(cache_mutex());
      for (std::size_t i = 0; i < polygons.size(); ++i) {
        const auto here = cache<T>().find({polygons[i], levels[i]});
        result.push_back(here != cache<T>().end() ? here->second : nullptr);
      }
    }
    for (std::size_t i = 0; i < polygons.size(); ++i) {
      if (result[i]) continue;
      auto& grid = built[{polygons[i], levels[i]}];
      if (!grid) {
        grid = std::make_shared<OwnedGrid<T>>();
        missing_levels.push_back(levels[i]);
        sides.push_back(segments(polygons[i]));
        fresh.push_back(grid.get());
      }
      result[i] = grid;
    }
    if (built.empty()) return result;
    kernels<T>().build_grids(sides.data(), missing_levels.data(), fresh.data(), std::int64_t(fresh.size()), threads);
    Cache<T> dropped;  // its grids are freed after unlocking
    std::lock_guard<std::mutex> lock(cache_mutex());
    if (cache<T>().size() + built.size() > kCachedGrids) dropped.swap(cache<T>());
    if (built.size() <= kCachedGrids) cache<T>().insert(built.begin(), built.end());
    return result;
  }

 private:
  template <class T>
  using Cache = std::map<std::pair<std::int64_t, std::int64_t>, std::shared_ptr<OwnedGrid<T>>>;
  template <class T>
  Cache<T>& cache() {
    if constexpr (sizeof(T) == 4)
      return cache_f32_;
    else
      return cache_f64_;
  }
  std::vector<double> ends_;
  std::vector<std::int64_t> first_;
  const bool closed_;
  Cache<float> cache_f32_;
  Cache<double> cache_f64_;
};

}  // namespace quatrefoil::wos::polygon
