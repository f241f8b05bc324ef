// Checks arrays from Python and puts them into args.
#include "wos/media/bind.hpp"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "core/host/isa.hpp"
#include "py/arguments.hpp"
#include "wos/stars/args.hpp"

QF_TABLE(wos, stars)

namespace quatrefoil::wos::stars {
namespace {

using data::DataOf;
using data::Facets;

// A table with the rows of one boundary or of B boundaries, and the index of each boundary's first row.
struct Rows {
  const double* numbers;
  const std::int64_t* first;
  std::int64_t count;  // boundaries

  Rows(Arguments& call, const char* name, const char* dims, const char* first_name, const char* first_dims, std::int64_t boundaries) {
    const auto table = call.input(name, dims);
    const auto begins = call.input(first_name, first_dims);
    numbers = table, first = begins;
    count = begins.view().shape[0] - 1;
    bool fits = count == boundaries && first[0] == 0 && first[count] == table.view().shape[0];
    for (std::int64_t b = 0; fits && b < count; ++b) fits = first[b] <= first[b + 1];
    call.require(fits, "the row offsets of walls or corners do not match the boundaries");
  }
  std::int64_t at(std::int64_t instance) const { return count == 1 ? 0 : instance; }
  std::int64_t rows(std::int64_t instance) const { return first[at(instance) + 1] - first[at(instance)]; }
};

// The frames of B instances, and the absorbing and reflecting parts of the boundary.
struct Scene : walk::Scene {
  Rows walls, corners;

  Scene(Arguments& call, const py::object& memo)
      : walk::Scene(call, memo, false),
        walls(call, "walls", "P X", "first_wall", "Q", count(call)),
        corners(call, "corners", "L Y", "first_corner", "G", count(call)) {
    call.require(call["X"] == of_wall() && call["Y"] == of_corner(),
                 "walls or corners have the wrong number of columns for this dimension");
  }

  Reflecting reflecting(std::int64_t instance) const {
    const auto from = [&](const Rows& t, int width) { return t.numbers + width * t.first[t.at(instance)]; };
    const double* const exchange = bounds ? bounds + 2 * walls.first[walls.at(instance)] : nullptr;
    return {from(walls, of_wall()), from(corners, of_corner()), walls.rows(instance), corners.rows(instance), exchange};
  }
  const double* bounds = nullptr;  // in a medium, the bound on |nu_0| and the constant part of nu_0 for each wall

 private:
  int of_wall() const { return D == 2 ? kWallNumbers<2> : kWallNumbers<3>; }
  int of_corner() const { return D == 2 ? kCornerNumbers<2> : kCornerNumbers<3>; }
  std::int64_t count(const Arguments& call) const {
    call.require(!boundaries.has_no_facets(), "walls are supported only for polygons and meshes");
    return boundaries.polygons ? boundaries.polygons->count() : 1;
  }
};

struct Options {
  const std::string *kinds, &diffusion, &screening;  // kinds of data
  walk::Range range;
  bool endless, varies;
  const py::object &grids, *functions, &a, &s;
  int threads;
  std::int64_t events;  // of a trace
};

constexpr const char* kNames[kMet] = {"dirichlet", "source", "neumann", "robin"};

// The inputs of a call. for_sides calls f(args, side) for groups of right-hand sides.
template <class T>
struct Inputs {
  const T* start;
  Scene scene;
  std::int64_t N;
  std::vector<const View*> numbers;
  std::vector<std::unique_ptr<DataOf>> data;
  std::unique_ptr<media::Medium> medium;
  const Options& options;

  Inputs(Arguments& call, const Options& o) : start(call.input("start", "B N D")), scene(call, o.grids), N(call["N"]), options(o) {
    static constexpr const char* dims[kMet] = {"R K", "S J", "U I", "V H"};
    for (int met = 0; met < kMet; ++met) {
      const View& of_kind = data::numbers_of(call, kNames[met], dims[met]);
      numbers.push_back(&of_kind);
      const Facets walls{scene.walls.first, scene.walls.count, scene.walls.first[scene.walls.count]};
      const Facets facets = met == on_boundary ? scene.boundaries.facets() : met == in_domain ? Facets{} : walls;
      data.push_back(std::make_unique<DataOf>(call, kNames[met], of_kind, o.kinds[met], o.functions[met], facets, o.range.first_instance,
                                              o.range.rows(call, scene.B), scene.D));
    }
    const int tables = 2 + int(scene.D);
    medium = std::make_unique<media::Medium>(call, o.diffusion, o.screening, o.a, o.s, o.range.first_instance, scene.B, N, scene.D, tables,
                                             o.range.pairs);
    const View& exchange = data::numbers_of(call, "exchange", "P 2");
    call.require(o.varies == exchange.present && o.varies == medium->bounds.present,
                 "bounds and exchange are required in a medium, and only there");
    if (o.varies) scene.bounds = exchange.as<double>();
    o.range.check(call, scene.B, N, scene.D);
  }

  template <class F>
  void for_sides(F&& f) const {
    walk::for_sides(scene, start, N, options.range, options.threads, [&](walk::Walk<T>& walk, std::int64_t begin, std::int64_t side) {
      std::vector<Reflecting> reflecting;
      for (std::int64_t b = begin; b < begin + walk.B; ++b) reflecting.push_back(scene.reflecting(b));
      walk.dirichlet = from_instance(data[on_boundary]->data, side), walk.source = from_instance(data[in_domain]->data, side);
      walk.neumann = from_instance(data[on_neumann]->data, side), walk.robin = from_instance(data[on_robin]->data, side);
      Stars<T> p{};
      p.walk = walk, p.reflecting = reflecting.data();
      p.endless = options.endless;
      const media::Media<T> varying = options.varies ? medium->from(begin, walk) : media::Media<T>{};
      p.medium = options.varies ? &varying : nullptr;
      f(p, side);
    });
  }
};

template <class T>
void forward(Arguments& call, const Inputs<T>& inputs) {
  const walk::Nodes nodes(call);
  std::int64_t* const beyond = call.output_if(inputs.options.varies, "beyond", "sides N");
  call.all_taken();
  inputs.for_sides([&](Stars<T>& p, std::int64_t side) {
    nodes.set(p.walk, side);
    media::Media<T> counted = p.medium ? *p.medium : media::Media<T>{};
    counted.beyond = beyond + side * inputs.N;
    if (p.medium) p.medium = &counted;
    kernels<T>().stars(p);
  });
}

template <class T>
void adjoint(Arguments& call, const Inputs<T>& inputs) {
  const double* const grad = call.input("grad", "sides N nodes channels");
  for (const char* name : {"dstart", "dframe", "dends", "dfirst", "dwalls", "dfirst_wall", "dcorners", "dfirst_corner"})
    call.no_output(name);
  double* to[kMet];
  for (int met = 0; met < kMet; ++met) {
    to[met] = call.gradient_of(kNames[met]);
    if (to[met]) std::fill_n(to[met], inputs.numbers[std::size_t(met)]->size(), 0.0);
  }
  for (const char* name : {"ddiffusion", "dscreening", "dbounds", "dslopes", "dexchange"}) call.no_output(name);
  call.all_taken();
  inputs.for_sides([&](const Stars<T>& p, std::int64_t side) {
    StarsAdjoint<T> q{};
    q.forward = p;
    q.grad = grad + side * inputs.N * p.walk.nodes() * p.walk.channels();
    for (int met = 0; met < kMet; ++met) q.numbers[met] = data::gradient_from(to[met], inputs.data[std::size_t(met)]->data, side);
    kernels<T>().stars_adjoint(q);
  });
}

template <class T>
void trace(Arguments& call, const Inputs<T>& inputs) {
  const walk::Recording to = walk::recording(call, inputs.options.range, inputs.scene.B, inputs.options.events);
  inputs.for_sides([&](const Stars<T>& p, std::int64_t) { kernels<T>().stars_trace({p, to}); });
}

enum class Op { forward, adjoint, trace };

// count: right-hand sides that share the walks, or points to record.
template <Op op>
void stars(Arguments& call, const std::string& dirichlet_kind, const std::string& source_kind, const std::string& neumann_kind,
           const std::string& robin_kind, const std::string& diffusion_kind, const std::string& screening_kind, std::int64_t seed,
           std::int64_t first_walk, std::int64_t walks, std::int64_t max_steps, bool gradient, double rate, std::int64_t first_instance,
           std::int64_t first_point, bool endless, bool varies, std::int64_t count, py::object grids, py::object g, py::object f,
           py::object h, py::object k, py::object a, py::object s, int threads) {
  const std::string kinds[kMet] = {dirichlet_kind, source_kind, neumann_kind, robin_kind};
  const py::object functions[kMet] = {g, f, h, k};
  const std::int64_t nrhs = op == Op::trace ? 1 : count;
  const walk::Range range{seed, first_walk, walks, max_steps, rate, gradient, first_instance, first_point, nrhs};
  const Options options{kinds, diffusion_kind, screening_kind, range, endless, varies, grids, functions, a, s, threads, count};
  call.dispatch([&](auto zero) {
    const Inputs<decltype(zero)> inputs(call, options);
    op == Op::forward ? forward(call, inputs) : op == Op::adjoint ? adjoint(call, inputs) : trace(call, inputs);
  });
}

}  // namespace

void bind(py::module_& m) {
  define(m, "stars", &stars<Op::forward>);
  define(m, "stars_vjp", &stars<Op::adjoint>);
  define(m, "stars_trace", &stars<Op::trace>);
}

}  // namespace quatrefoil::wos::stars
