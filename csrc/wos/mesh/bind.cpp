// Arrays from Python -> args, checked. Computes nothing.
#include "wos/mesh/bind.hpp"

#include "py/arguments.hpp"

namespace quatrefoil::wos::mesh {
namespace {

std::unique_ptr<Mesh> mesh(py::handle corners_) {
  Fit fit("wos.Mesh");
  const Input corners(corners_, "corners");
  const double* const numbers = fit.array(corners, "corners", "M 9");
  fit.require(numbers, "corners are missing");
  return std::make_unique<Mesh>(fit, corners);
}

}  // namespace

void bind(py::module_& m) { py::class_<Mesh>(m, "Mesh").def(py::init(&mesh), py::arg("corners")); }

}  // namespace quatrefoil::wos::mesh
