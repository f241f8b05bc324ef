// Boundary values and sources in kernels. Coordinates are centred on the boundary's box and divided by its extent ("scaled").
#pragma once
#include <cstdint>

#include "core/lanes/hd.hpp"

namespace quatrefoil::wos::data {

// The parameters of an instance:
//   number      c
//   fourier     centre (2), a0, a1, b1, a2, b2, ...
//   per_vertex  the values at the corners of every segment or triangle
//   gaussians   for each: amplitude, centre (d), extent^2 / width^2
//   polynomial  powers per axis (d), coefficients with the last axis fastest, padding
//   grid        nodes per axis (d), the box's corners in absolute coordinates (2 d), values at the nodes, padding
//   function    none: `callback` receives absolute coordinates (n, d) and writes n values
enum class Kind { none, number, fourier, per_vertex, gaussians, polynomial, grid, function };

// The index in a row where the coefficients or values start.
QF_HD constexpr std::int64_t table_begin(Kind kind, std::int64_t dimension) { return kind == Kind::grid ? 3 * dimension : dimension; }

struct Data {
  Kind kind = Kind::none;
  const double* numbers = nullptr;
  std::int64_t width = 0, stride = 0;     // parameters per instance; offset between instances, 0 if all share one row
  const std::int64_t* offsets = nullptr;  // (instances + 1,): alternatively, the index of each instance's first parameter
  void (*callback)(void* context, std::int64_t instance, std::int64_t n, const double* x, double* out) = nullptr;
  void* context = nullptr;

  std::int64_t begin(std::int64_t instance) const { return offsets ? offsets[instance] : instance * stride; }
  std::int64_t count(std::int64_t instance) const { return offsets ? offsets[instance + 1] - offsets[instance] : width; }
};

}  // namespace quatrefoil::wos::data
