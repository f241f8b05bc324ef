// Checks arrays from Python and puts them into args.
#include "wos/polygon/bind.hpp"

#include "py/arguments.hpp"

namespace quatrefoil::wos::polygon {
namespace {

constexpr std::int64_t kMaxLevel = 10;  // 2^20 cells

std::unique_ptr<Polygons> polygons(py::handle ends_, py::handle first_, bool closed) {
  ShapeChecker checker("wos.Polygons");
  const Input ends(ends_, "ends"), first(first_, "first");
  const double* const numbers = checker.array(ends, "ends", "M 4");
  const std::int64_t* const begins = checker.array(first, "first", "F");
  checker.require(numbers && begins && checker["F"] >= 1, "first must not be empty");
  return std::make_unique<Polygons>(checker, ends, first, closed);
}

// Distances at points of one polygon, as walks use them. For tests of the grid.
void bounds(Arguments& call, Polygons& polygons, std::int64_t polygon, std::int64_t level) {
  call.require(polygon >= 0 && polygon < polygons.count() && level >= 0 && level <= kMaxLevel, "polygon or level is out of range");
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    const T* const points = call.input("points", "N 2");
    T* const radius = call.output("radius", "N");
    std::int64_t* const primitive = call.output("primitive", "N");
    const auto grids = polygons.grids<T>({polygon}, {level}, 1);
    kernels<T>().bounds(*grids[0], points, call["N"], radius, primitive);
  });
}

}  // namespace

void bind(py::module_& m) {
  py::class_<Polygons>(m, "Polygons").def(py::init(&polygons), py::arg("ends"), py::arg("first"), py::arg("closed") = true);
  m.def("bounds",
        [](Polygons& polygons, std::int64_t polygon, std::int64_t level, py::handle points, py::handle radius, py::handle primitive) {
          Arguments call("wos.bounds", py::make_tuple(points, radius, primitive), 3);
          bounds(call, polygons, polygon, level);
        });
}

}  // namespace quatrefoil::wos::polygon
