// Checks the inputs of a medium, and converts them to args.
#pragma once
#include "wos/data/bind.hpp"
#include "wos/media/args.hpp"
#include "wos/walk/bind.hpp"

namespace quatrefoil::wos::media {

// The diffusion and screening of B instances of N points in D dimensions. `tables`: the number of tables in a diffusion grid's row.
struct Medium {
  const View &diffusion_numbers, &screening_numbers, &bounds, &slopes;
  data::DataOf diffusion, screening;
  std::int64_t N, D;

  Medium(Arguments& call, const std::string& diffusion_kind, const std::string& screening_kind, const py::object& a, const py::object& s,
         std::int64_t first_instance, std::int64_t B, std::int64_t N_, std::int64_t D_, std::int64_t tables, bool pairs)
      : diffusion_numbers(data::numbers_of(call, "diffusion", "diffusion_rows alpha")),
        screening_numbers(data::numbers_of(call, "screening", "screening_rows sigma")),
        bounds(data::numbers_of(call, "bounds", "B 2")),
        slopes(data::numbers_of(call, "slopes", "B N D")),
        diffusion(call, "diffusion", diffusion_numbers, diffusion_kind, a, {}, first_instance, B, D_),
        screening(call, "screening", screening_numbers, screening_kind, s, {}, first_instance, B, D_),
        N(N_),
        D(D_) {
    call.require(diffusion.data.kind != data::Kind::per_vertex, "diffusion must not be 'per_vertex'");
    call.require(diffusion.data.kind != data::Kind::fourier, "diffusion must not be 'fourier'");
    call.require(screening.data.kind != data::Kind::per_vertex, "screening must not be 'per_vertex'");
    for (std::int64_t row = 0; diffusion.data.kind == data::Kind::grid && row < diffusion_numbers.shape[0]; ++row)
      check_tables(call, row, tables);
    if (!bounds.present) return;
    const double* const rate_bounds = bounds.as<double>();
    for (std::int64_t b = 0; b < B; ++b)
      call.require(rate_bounds[kBounds * b] >= 0 && rate_bounds[kBounds * b] < 1e300 && rate_bounds[kBounds * b + 1] > 0,
                   "invalid rate bound");
    call.require(slopes.present == pairs, "slopes are required with pairs, and only then");
  }

  // The medium of the instances from `begin` on.
  template <class T>
  Media<T> from(std::int64_t begin, const walk::Walk<T>& walk) const {
    Media<T> p{};
    p.walk = walk;
    p.diffusion = data::from_instance(diffusion.data, begin), p.screening = data::from_instance(screening.data, begin);
    p.bounds = bounds.as<double>() + kBounds * begin;
    p.slopes = slopes.present ? slopes.as<double>() + begin * N * D : nullptr;
    return p;
  }

 private:
  // Checks that the row of a diffusion's grid has room for all tables.
  void check_tables(const Arguments& call, std::int64_t row, std::int64_t tables) const {
    const data::Data& d = diffusion.data;
    std::int64_t count = 1;
    for (std::int64_t i = 0; i < D; ++i) count *= std::int64_t(d.numbers[row * d.stride + i]);
    call.require(count <= (d.width - data::table_begin(d.kind, D)) / tables, "a diffusion on a grid must have further tables");
  }
};

}  // namespace quatrefoil::wos::media
