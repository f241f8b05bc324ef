// Checks arrays from Python and puts them into args.
#include "wos/mesh/bind.hpp"

#include "py/arguments.hpp"

namespace quatrefoil::wos::mesh {
namespace {

std::unique_ptr<Mesh> mesh(py::handle corners_) {
  ShapeChecker checker("wos.Mesh");
  const Input corners(corners_, "corners");
  const double* const numbers = checker.array(corners, "corners", "M 9");
  checker.require(numbers, "corners is empty, expected at least one triangle");
  return std::make_unique<Mesh>(checker, corners);
}

// The distances that walks use at points, for tests of the grid.
void bounds(Arguments& call, Mesh& mesh, int level) {
  call.require(level >= 0 && level <= 7, "level must be between 0 and 7");
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    const T* const points = call.input("points", "N 3");
    T* const radius = call.output("radius", "N");
    std::int64_t* const primitive = call.output("primitive", "N");
    kernels<T>().bounds(*mesh.grid<T>(level, 1), points, call["N"], radius, primitive);
  });
}

}  // namespace

void bind(py::module_& m) {
  py::class_<Mesh>(m, "Mesh").def(py::init(&mesh), py::arg("corners"));
  m.def("mesh_bounds", [](Mesh& mesh, int level, py::handle points, py::handle radius, py::handle primitive) {
    Arguments call("wos.mesh_bounds", py::make_tuple(points, radius, primitive), 3);
    bounds(call, mesh, level);
  });
}

}  // namespace quatrefoil::wos::mesh
