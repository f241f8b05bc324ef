// Views -> args, and the GIL released around the kernels. Computes nothing.
#include "wos/polygon/bind.hpp"

namespace quatrefoil::wos::polygon {
namespace {

constexpr std::int64_t kMaxLevel = 10;  // 2^20 cells

// What a walk sees at points of one polygon: a test of the grid.
void bounds(Polygons& polygons, std::int64_t polygon, std::int64_t level, py::handle points_, py::handle radius_, py::handle primitive_) {
  const Input points(points_, "points");
  const Output radius(radius_, "radius"), primitive(primitive_, "primitive");
  const std::int64_t N = points.dim(2);
  require(polygon >= 0 && polygon < polygons.count() && level >= 0 && level <= kMaxLevel, "bounds", "polygon or level");
  require(points.rank == 2 && points.dim(1) == 2 && radius.size() == N && radius.dtype == points.dtype && primitive.size() == N &&
              primitive.dtype == Dtype::i64,
          "bounds", "shapes");
  dispatch_real(points.dtype, "bounds", [&](auto zero) {
    using T = decltype(zero);
    py::gil_scoped_release released;
    const auto grids = polygons.grids<T>({polygon}, {level}, 1);
    kernels<T>().bounds(*grids[0], points.as<T>(), N, radius.as<T>(), primitive.as<std::int64_t>());
  });
}

}  // namespace

void bind(py::module_& m) {
  py::class_<Polygons>(m, "Polygons").def(py::init<py::handle, py::handle>(), py::arg("ends"), py::arg("first"));
  m.def("bounds", &bounds, py::arg("polygons"), py::arg("polygon"), py::arg("level"), py::arg("points"), py::arg("radius"),
        py::arg("primitive"));
}

}  // namespace quatrefoil::wos::polygon
