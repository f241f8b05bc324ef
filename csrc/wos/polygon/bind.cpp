// Views -> args, and the GIL released around the kernels. Computes nothing.
#include "wos/polygon/bind.hpp"

namespace quatrefoil::wos::polygon {
namespace {

void locate(const Polygons& polygons, std::int64_t instance, py::handle points_, py::handle inside_, py::handle distance_,
            py::handle closest_, py::handle place_, py::handle primitive_, int threads) {
  const Input points(points_, "points");
  const Output inside(inside_, "inside"), distance(distance_, "distance"), closest(closest_, "closest"), place(place_, "place"),
      primitive(primitive_, "primitive");
  const std::int64_t N = points.dim(2);
  require(instance >= 0 && instance < polygons.count() && points.rank == 2 && points.dim(1) == 2 && points.dtype == Dtype::f64, "locate",
          "points");
  require(inside.size() == N && inside.dtype == Dtype::b8, "locate", "inside");
  require(bool(distance) == bool(closest), "locate", "distance and closest go together");
  for (const auto& [out, n] : {std::pair{&distance, N}, {&closest, 2 * N}, {&place, N}})
    require(!*out || (out->size() == n && out->dtype == Dtype::f64), "locate", "outputs");
  require(!primitive || (primitive.size() == N && primitive.dtype == Dtype::i64), "locate", "outputs");
  const Locate p{polygons.segments(instance), points.as<double>(),          N,
                 inside.as<std::uint8_t>(),   distance.as<double>(),        closest.as<double>(),
                 place.as<double>(),          primitive.as<std::int64_t>(), threads};
  py::gil_scoped_release released;
  table().locate(p);
}

void bounds(Polygons& polygons, std::int64_t instance, std::int64_t level, py::handle points_, py::handle radius_, py::handle primitive_) {
  const Input points(points_, "points");
  const Output radius(radius_, "radius"), primitive(primitive_, "primitive");
  const std::int64_t N = points.dim(2);
  require(instance >= 0 && instance < polygons.count() && level >= 0 && level <= kMaxLevel, "bounds", "instance or level");
  require(points.rank == 2 && points.dim(1) == 2 && radius.size() == N && radius.dtype == points.dtype && primitive.size() == N &&
              primitive.dtype == Dtype::i64,
          "bounds", "shapes");
  dispatch_real(points.dtype, "bounds", [&](auto zero) {
    using T = decltype(zero);
    py::gil_scoped_release released;
    const auto grids = polygons.grids<T>(instance, instance + 1, &level, 1);
    kernels<T>().bounds(*grids[0], points.as<T>(), N, radius.as<T>(), primitive.as<std::int64_t>());
  });
}

}  // namespace

void bind(py::module_& m) {
  py::class_<Polygons>(m, "Polygons").def(py::init<py::handle, py::handle>(), py::arg("ends"), py::arg("first"));
  m.def("locate", &locate, py::arg("polygons"), py::arg("instance"), py::arg("points"), py::arg("inside"), py::arg("distance"),
        py::arg("closest"), py::arg("place"), py::arg("primitive"), py::arg("num_threads"));
  m.def("bounds", &bounds, py::arg("polygons"), py::arg("instance"), py::arg("level"), py::arg("points"), py::arg("radius"),
        py::arg("primitive"));
}

}  // namespace quatrefoil::wos::polygon
