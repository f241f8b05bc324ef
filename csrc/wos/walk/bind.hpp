// Shared by the calls of walks: the boundary, the range of walks, and groups of instances.
#pragma once
#include <algorithm>
#include <memory>
#include <vector>

#include "wos/query/bind.hpp"
#include "wos/walk/args.hpp"

namespace quatrefoil::wos::walk {

constexpr std::int64_t kInstances = 64;      // maximum instances whose grids are in memory at a time
constexpr std::int64_t kMaxSteps = 1 << 20;  // limit of the step counter
constexpr std::int64_t kMaxWalks = 1LL << 32;
constexpr std::int64_t kMaxIndex = 1LL << 32;  // limit of the instance and point counters

#if !defined(QF_DEVICE)
// The frames of B instances and the boundary: one polygon for all instances or one each, a mesh, or a solid.
struct Scene {
  const double* frame;
  std::int64_t B, D;
  query::Boundaries boundaries;

  bool outside = false;  // the domain is outside the boundary

  // Reads frame, ends and first. B and D are sizes of earlier arguments, or of the frame. closed: `ends` has all segments of the polygons.
  Scene(Arguments& call, const py::object& memo, bool closed = true)
      : frame(call.input("frame", "B E")), B(call["B"]), D(call["D"]), boundaries(call, memo, B, D, closed) {
    call.require(call["E"] == D + 2 && D >= 2 && D <= solid::kMaxDimension, "frame must have d + 2 columns");
  }
  void set_outside(const Arguments& call, bool is, double = 0) {
    call.require(!is || D <= 3, "outside is not supported in more than three dimensions");
    outside = is;
  }
  data::Facets facets() const { return boundaries.facets(); }
  double epsilon(std::int64_t instance) const { return frame[instance * (D + 2) + D + 1]; }
};

template <class T>
class Grids {  // grids of instances [begin, end), valid during the lifetime of this object
 public:
  Grids(const Scene& s, std::int64_t begin, std::int64_t end, int threads) {
    const query::Boundaries& all = s.boundaries;
    if (all.mesh) mesh_ = all.mesh->template grid<T>(mesh::grid_level(all.mesh->count(), s.epsilon(0)), threads);
    if (!all.polygons) return;
    std::vector<std::int64_t> which, levels;
    for (std::int64_t b = begin; b < end; ++b) {
      which.push_back(all.polygon(b));
      levels.push_back(polygon::grid_level(all.polygons->segments(all.polygon(b)).M, s.epsilon(b)));
    }
    owned_ = all.polygons->template grids<T>(which, levels, threads);
    for (const auto& grid : owned_) grids_.push_back(*grid);
  }
  const polygon::Grid<T>* data() const { return grids_.empty() ? nullptr : grids_.data(); }
  mesh::Grid<T>* mesh() const { return mesh_.get(); }

 private:
  std::shared_ptr<mesh::OwnedGrid<T>> mesh_;
  std::vector<std::shared_ptr<polygon::OwnedGrid<T>>> owned_;
  std::vector<polygon::Grid<T>> grids_;
};
#else
// The same in a GPU's memory, where values are unchecked: shapes determine the boundary. Ignores a memo, which belongs to the host. Signed
// distance functions are not available.
struct Scene {
  const double* frame;
  std::int64_t B, D;
  BoundaryArrays boundary;
  bool outside = false;

  Scene(Arguments& call, const py::object&, bool = true) : frame(call.input("frame", "B E")), B(call["B"]), D(call["D"]) {
    call.require(call["E"] == D + 2 && D >= 2 && D <= solid::kMaxDimension, "frame must have d + 2 columns");
    const auto ends = call.optional_input("ends", "M C");
    const auto first = call.optional_input("first", "F");
    call.require(ends.view().present == first.view().present, "pass both ends and first, or neither");
    boundary.ends = ends, boundary.first = first;
    if (!boundary.ends) return;
    boundary.count = call["M"], boundary.width = call["C"], boundary.polygons = call["F"] - 1;
    boundary.solid = boundary.count == 1 && solid::is_solid(boundary.width, D);
    if (boundary.solid) {
      call.require(boundary.polygons == 1, "a solid must be described by a single row");
      if (boundary.width == solid::field_head(D) + D + 1)
        call.reject_type(
            "a device cannot call a host function of signed distances; pass their values on a grid, or move the arrays to the host");
      return;
    }
    call.require(boundary.width == D * D && D <= 3 && boundary.count >= 1,
                 "ends must be segments in two dimensions, or triangles in three");
    call.require(boundary.polygons == 1 || (D == 2 && boundary.polygons == B), "expected one polygon, or one per instance");
  }
  void set_outside(const Arguments& call, bool is, double reach = 0) {
    call.require(!is || (D == 3 && !(boundary.solid && boundary.width != D)),
                 "on a device, outside is supported only for balls, boxes and meshes in three dimensions");
    call.require(reach == 0, "on a device, a source outside requires screening");
    outside = is;
  }
  data::Facets facets() const { return {nullptr, boundary.polygons, boundary.ends && !boundary.solid ? boundary.count : -1}; }
};
#endif

#if defined(QF_DEVICE)
constexpr std::int64_t kTogether = 1LL << 40;  // right-hand sides that share walks; a GPU repeats the walks for each of them
#else
constexpr std::int64_t kTogether = 64;  // right-hand sides that share walks; the walks are repeated for the next 64
#endif

// Walks [first_walk, first_walk + walks) of every point, alone or in pairs, and the global indices of the first instance and point. `nrhs`
// right-hand sides of a single instance share them.
struct Range {
  std::int64_t seed, first_walk, walks, max_steps;
  double screening;
  bool pairs;
  std::int64_t first_instance = 0, first_point = 0, nrhs = 1;
  bool sobol = false;

  // The number of right-hand sides of B instances.
  std::int64_t rows(const Arguments& call, std::int64_t B) const {
    call.require(nrhs == 1 || (nrhs >= 0 && B == 1), "several right-hand sides require a single instance");
    return B * nrhs;
  }
  // Checks for B instances of N points in D dimensions. Also sets the sizes "sides", "nodes" and "channels".
  void check(Arguments& call, std::int64_t B, std::int64_t N, std::int64_t D) const {
    call.require(first_walk >= 0 && walks >= 1 && first_walk <= kMaxWalks - walks, "first_walk and walks are out of range");
    call.require(max_steps >= 1 && max_steps < kMaxSteps, "max_steps must be at least 1 and less than 2^20");
    call.require(!sobol || D <= 3, "sobol is not supported in more than three dimensions");
    const int group = pairs ? 2 : 1;
    call.require(first_walk % group == 0 && walks % group == 0, "first_walk and walks must be even, because walks come in pairs");
    call.require(screening >= 0 && screening < 1e300, "screening must be at least 0 and less than 1e300");
    call.require(first_instance >= 0 && first_instance <= kMaxIndex - B, "first_instance is out of range");
    call.require(first_point >= 0 && first_point <= kMaxIndex - N, "first_point is out of range");
    call.size("sides", rows(call, B));
    call.size("nodes", node_count(first_walk / group, walks / group));
    call.size("channels", pairs ? 1 + D : 1);
  }
  template <class T>
  void set(Walk<T>& p, std::int64_t begin) const {
    p.first_instance = first_instance + begin, p.first_point = first_point;
    p.walks = walks, p.first_walk = first_walk, p.max_steps = max_steps, p.gradient = pairs, p.screening = screening;
    p.sobol = sobol;
    p.key0 = std::uint32_t(seed), p.key1 = std::uint32_t(std::uint64_t(seed) >> 32);
  }
};

// The arrays of the nodes of all walks.
struct Nodes {
  double *mean, *m2;
  std::int64_t* counts;

  explicit Nodes(Arguments& call)
      : mean(call.output("mean", "sides N nodes channels")),
        m2(call.output("m2", "sides N nodes channels")),
        counts(call.output("counts", "sides N 3")) {}
  // Sets the outputs of right-hand sides from `side` on.
  template <class T>
  void set(Walk<T>& p, std::int64_t side) const {
    const std::int64_t row = side * p.N, width = p.nodes() * p.channels();
    p.mean = mean + row * width, p.m2 = m2 + row * width, p.counts = counts + 3 * row;
  }
};

// Reads the outputs of a recording of `events` points from the walks of a single instance.
inline Recording recording(Arguments& call, const Range& range, std::int64_t B, std::int64_t events) {
  call.require(B == 1 && range.nrhs == 1 && !range.pairs && events >= 0, "expected a single instance without pairs");
  call.size("walks", range.walks), call.size("events", events);
  Recording to{};
  to.exit = call.output("exit", "N walks D");
  to.weight = call.output("weight", "N walks");
  to.counts = call.output("counts", "N walks 3");
  to.beyond = call.output("beyond", "N walks");
  to.met = call.output("met", "N walks 3");
  to.point = call.output("point", "events D");
  to.share = call.output("share", "events");
  to.events = events;
  call.all_taken();
  return to;
}

// Calls f(args, begin) for groups of instances from `begin` on, without the GIL. args has the starts of walks and the boundary.
template <class T, class F>
void for_groups(const Scene& scene, const T* start, std::int64_t N, int threads, F&& f) {
#if defined(QF_DEVICE)
  Walk<T> all{};
  all.boundary = scene.boundary, all.outside = scene.outside;
  all.start = start, all.frame = scene.frame;
  all.B = scene.B, all.N = N, all.dimension = int(scene.D), all.threads = threads;
  released([&](Walk<T> p) { f(p, 0); }, all);
#else
  const GilReleased released;
  for (std::int64_t begin = 0; begin < scene.B; begin += kInstances) {
    const std::int64_t end = std::min(scene.B, begin + kInstances);
    const Grids<T> grids(scene, begin, end, threads);
    Walk<T> p{};
    p.grids = grids.data(), p.mesh = grids.mesh();
    p.solid = scene.boundaries.solid, p.outside = scene.outside;
    p.start = start + begin * N * scene.D;
    p.frame = scene.frame + begin * (scene.D + 2);
    p.B = end - begin, p.N = N, p.dimension = int(scene.D), p.threads = threads;
    f(p, begin);
  }
#endif
}

// The same for walks of a range: calls f(args, begin, side) for at most kTogether right-hand sides, from `side` on, of the instances.
template <class T, class F>
void for_sides(const Scene& scene, const T* start, std::int64_t N, const Range& range, int threads, F&& f) {
  for_groups(scene, start, N, threads, [&](Walk<T>& p, std::int64_t begin) {
    range.set(p, begin);
    std::int64_t side = 0;
    do {
      p.nrhs = std::min(kTogether, range.nrhs - side), p.first_data = p.first_instance + side;
      f(p, begin, begin + side);
      side += kTogether;
    } while (side < range.nrhs);
  });
}

}  // namespace quatrefoil::wos::walk
