// B polygons with the grids that walks have asked for: what a Python boundary keeps between calls.
#pragma once
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "core/host/dispatch.hpp"
#include "core/host/isa.hpp"
#include "py/caster.hpp"
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

constexpr int kMaxLevel = 10;                   // 2^20 cells
constexpr std::int64_t kMaxSegments = 1 << 24;  // what a float32 counts exactly
constexpr std::size_t kKeptGrids = 64;          // of the last calls; more are built anew in every call

// The segments of B polygons in scaled coordinates, with the grids that were asked for.
class Polygons {
 public:
  Polygons(py::handle ends_, py::handle first_) {
    const Input ends(ends_, "ends"), first(first_, "first");
    require(ends.rank == 2 && ends.dim(1) == 4 && ends.dtype == Dtype::f64, "Polygons", "expected ends (M, 4) of float64");
    require(first.rank == 1 && first.size() >= 1 && first.dtype == Dtype::i64, "Polygons", "expected first (B + 1,) of int64");
    segments_.assign(ends.as<double>(), ends.as<double>() + ends.size());
    first_segment_.assign(first.as<std::int64_t>(), first.as<std::int64_t>() + first.size());
    for (std::size_t b = 0; b + 1 < first_segment_.size(); ++b) {
      const std::int64_t M = first_segment_[b + 1] - first_segment_[b];
      require(M > 0 && M < kMaxSegments, "Polygons", "expected between 1 and 2^24 segments a polygon");
    }
    require(first_segment_.front() == 0 && first_segment_.back() == ends.dim(2), "Polygons", "first does not fit ends");
  }

  std::int64_t count() const { return std::int64_t(first_segment_.size()) - 1; }
  const std::int64_t* first_segment() const { return first_segment_.data(); }
  Segments segments(std::int64_t b) const { return {segments_.data() + 4 * first_segment_[b], first_segment_[b + 1] - first_segment_[b]}; }

  // Grids of instances [begin, end). Without the GIL.
  template <class T>
  std::vector<std::shared_ptr<OwnedGrid<T>>> grids(std::int64_t begin, std::int64_t end, const std::int64_t* levels, int threads) {
    std::vector<std::shared_ptr<OwnedGrid<T>>> found(std::size_t(end - begin));
    std::lock_guard<std::mutex> lock(mutex_);
    auto& kept = this->kept<T>();
    std::vector<std::int64_t> missing, missing_levels;
    std::vector<Segments> sides;
    std::vector<Grid<T>*> fresh;
    for (std::int64_t b = begin; b < end; ++b) {
      auto& grid = found[std::size_t(b - begin)];
      const auto here = kept.find({b, levels[b - begin]});
      if (here != kept.end()) {
        grid = here->second;
        continue;
      }
      grid = std::make_shared<OwnedGrid<T>>();
      missing.push_back(b);
      missing_levels.push_back(levels[b - begin]);
      sides.push_back(segments(b));
      fresh.push_back(grid.get());
    }
    kernels<T>().build_grids(sides.data(), missing_levels.data(), fresh.data(), std::int64_t(missing.size()), threads);
    if (kept.size() + missing.size() > kKeptGrids) kept.clear();
    if (missing.size() <= kKeptGrids)
      for (std::int64_t b : missing) kept[{b, levels[b - begin]}] = found[std::size_t(b - begin)];
    return found;
  }

 private:
  template <class T>
  using Kept = std::map<std::pair<std::int64_t, std::int64_t>, std::shared_ptr<OwnedGrid<T>>>;
  template <class T>
  Kept<T>& kept() {
    if constexpr (sizeof(T) == 4)
      return kept_f32_;
    else
      return kept_f64_;
  }
  std::vector<double> segments_;
  std::vector<std::int64_t> first_segment_;
  std::mutex mutex_;
  Kept<float> kept_f32_;
  Kept<double> kept_f64_;
};

}  // namespace quatrefoil::wos::polygon
