// The boundaries of a call: polygons, a mesh, or a solid.
#pragma once
#include <memory>

#include "py/arguments.hpp"
#include "wos/mesh/bind.hpp"
#include "wos/polygon/bind.hpp"
#include "wos/solid/bind.hpp"

namespace quatrefoil::wos::query {

// Reads `ends` and `first`. Polygons: the sides (M, 4) and each polygon's first side (F,). A mesh: its triangles (M, 9) and [0, M]. A
// solid: its row (1, width) and [0, 1]. The unit ball: neither. A memo, if passed, is used instead of the sides or triangles.
struct Boundaries {
  polygon::Polygons* polygons = nullptr;
  mesh::Mesh* mesh = nullptr;
  solid::Solid solid;

  // closed: `ends` has all segments of the polygons, not only some.
  Boundaries(Arguments& call, const py::object& memo, std::int64_t B, std::int64_t D, bool closed = true) {
    const auto ends = call.optional_input("ends", "M C");
    const auto first = call.optional_input("first", "F");
    const double* const numbers = ends;
    const std::int64_t* const begins = first;
    call.require(ends.view().present == first.view().present, "pass both ends and first, or neither");
    if (!ends.view().present) return;
    if (numbers && begins && call["M"] == 1 && solid::is_solid(call["C"], D)) {
      call.require(call["F"] == 2 && begins[0] == 0 && begins[1] == 1, "a solid must be described by a single row");
      solid = solid::solid_of(call, numbers, call["C"], D);
      own_function_.set(call, memo, D, solid);
      return;
    }
    call.require(numbers && begins && call["F"] >= 1 && call["C"] == D * D && D <= 3,
                 "ends must be segments in two dimensions, or triangles in three");
    if (D == 2) {
      find(call, memo, own_polygons_, polygons,
           [&] { return std::make_unique<polygon::Polygons>(call, ends.view(), first.view(), closed); });
      call.require(call["M"] == polygons->total() && call["F"] == polygons->count() + 1, "the memo was built for different polygons");
      call.require(polygons->count() == 1 || polygons->count() == B, "expected one polygon, or one per instance");
    } else {
      call.require(call["F"] == 2 && begins[0] == 0 && begins[1] == call["M"], "first must be [0, number of triangles]");
      find(call, memo, own_mesh_, mesh, [&] { return std::make_unique<mesh::Mesh>(call, ends.view()); });
      call.require(call["M"] == mesh->count(), "the memo was built for a different mesh");
    }
  }
  data::Facets facets() const { return polygons ? polygons->facets() : mesh ? data::Facets{nullptr, 1, mesh->count()} : data::Facets{}; }
  bool has_no_facets() const { return !polygons && !mesh; }
  std::int64_t polygon(std::int64_t instance) const { return polygons->count() == 1 ? 0 : instance; }
  std::vector<polygon::Segments> segments(std::int64_t B) const {
    std::vector<polygon::Segments> all;
    for (std::int64_t b = 0; polygons && b < B; ++b) all.push_back(polygons->segments(polygon(b)));
    return all;
  }

 private:
  template <class M, class Make>
  static void find(const Arguments& call, const py::object& memo, std::unique_ptr<M>& own, M*& used, Make&& make) {
    if (memo.is_none()) {
      own = make();
      used = own.get();
    } else {
      if (!py::isinstance<M>(memo)) call.reject_type("grids: expected the memo of this kind of boundary");
      used = memo.cast<M*>();
    }
  }
  std::unique_ptr<polygon::Polygons> own_polygons_;
  std::unique_ptr<mesh::Mesh> own_mesh_;
  solid::DistanceFunction own_function_;
};

}  // namespace quatrefoil::wos::query
