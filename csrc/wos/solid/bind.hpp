// Checks the row that describes a solid, and converts it to a Solid.
#pragma once
#include <cmath>
#include <memory>

#include "py/arguments.hpp"
#include "wos/data/bind.hpp"
#include "wos/solid/args.hpp"

namespace quatrefoil::wos::solid {

// Whether a row of this width describes a solid: a segment has 4 elements, a triangle 9.
constexpr bool is_solid(std::int64_t width, std::int64_t D) { return width == D || (D <= 3 && width > D * D); }

// A box's row has D elements. Checks the sizes of a field, which the kernel relies on.
inline Solid solid_of(const Arguments& call, const double* row, std::int64_t width, std::int64_t D) {
  if (width == D) {
    for (std::int64_t i = 0; i < D; ++i) call.require(row[i] > 0 && row[i] <= 1, "the half-sides of a box must be positive and at most 1");
    return {row};
  }
  std::int64_t count = 1;
  call.require(width >= field_head(D) && row[0] > 0, "a field must have a header with a positive divisor");
  for (std::int64_t i = 0; i < D; ++i) {
    const double n = row[1 + i];
    if (n == 0 && i == 0 && width == field_head(D) + D + 1) return {nullptr, row};  // a function
    call.require(n >= 2 && n <= double(width) && n == std::floor(n), "a field has an invalid size");
    call.require(std::int64_t(n) <= (width - field_head(D)) / count, "a field must fit in its row");
    count *= std::int64_t(n);
    call.require(row[1 + D + i] < row[1 + 2 * D + i], "the box of a field must not be empty");
  }
  call.require(count == width - field_head(D), "a field must have one value per node");
  return {nullptr, row};
}

// The signed distance function of a field without nodes, passed as the memo.
class DistanceFunction {
 public:
  void set(const Arguments& call, const py::object& memo, std::int64_t D, Solid& solid) {
    if (!solid.field || solid.field[1] != 0) return;
    call.require(!memo.is_none(), "the signed distance function is missing");
    function_ = std::make_unique<data::PythonFunction>(data::PythonFunction{memo, D});
    data::set_callback(call, *function_, solid.function, solid.context);
  }

 private:
  std::unique_ptr<data::PythonFunction> function_;
};

}  // namespace quatrefoil::wos::solid
