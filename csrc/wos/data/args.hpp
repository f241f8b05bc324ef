// Boundary values and sources as the kernels see them. Coordinates are centred on the boundary's box and divided by its extent ("scaled").
#pragma once
#include <cstdint>

namespace quatrefoil::wos::data {

// A boundary value or source. A callback takes absolute coordinates, (n, d) doubles, and writes n doubles; the others have `width` numbers
// an instance, `stride` apart (0: shared).
enum class Kind : int { none, number, fourier, per_vertex, gaussians, callback };
struct Data {
  Kind kind = Kind::none;
  const double* numbers =
      nullptr;  // number: c | fourier: centre, a0, a1, b1, ... | gaussians: (amplitude, centre, 1/width^2)... | per_vertex: pairs
  std::int64_t width = 0, stride = 0;
  void (*callback)(void* context, std::int64_t instance, std::int64_t n, const double* x, double* out) = nullptr;
  void* context = nullptr;
};

}  // namespace quatrefoil::wos::data
