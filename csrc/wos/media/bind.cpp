// Checks arrays from Python and puts them into args.
#include "wos/media/bind.hpp"

#include <algorithm>
#include <string>

#include "core/host/isa.hpp"
#include "py/arguments.hpp"

QF_TABLE(wos, media)

namespace quatrefoil::wos::media {
namespace {

using data::DataOf;
using data::from_instance;
using data::gradient_from;
using data::Kind;
using data::numbers_of;

struct Options {
  const std::string &dirichlet, &source, &diffusion, &screening;  // kinds
  walk::Range range;
  const py::object &grids, &g, &f, &a, &s;
  int threads;
  std::int64_t events;  // of a trace
};

// The inputs of a call. for_sides calls f(args, side) for groups of right-hand sides.
template <class T>
struct Inputs {
  const T* start;
  walk::Scene scene;
  std::int64_t N;
  const View &dirichlet_numbers, &source_numbers;
  DataOf dirichlet, source;
  Medium medium;
  const Options& options;

  Inputs(Arguments& call, const Options& o)
      : start(call.input("start", "B N D")),
        scene(call, o.grids),
        N(call["N"]),
        dirichlet_numbers(numbers_of(call, "dirichlet", "R K")),
        source_numbers(numbers_of(call, "source", "S J")),
        dirichlet(data_of(call, "dirichlet", dirichlet_numbers, o.dirichlet, o.g, o)),
        source(data_of(call, "source", source_numbers, o.source, o.f, o)),
        medium(call, o.diffusion, o.screening, o.a, o.s, o.range.first_instance, scene.B, N, scene.D, 2, o.range.pairs),
        options(o) {
    call.require(scene.D <= 3, "media are supported only in two and three dimensions");
    call.require(medium.bounds.present, "bounds are required");
    call.require(source.data.kind != Kind::per_vertex, "source must not be 'per_vertex'");
    call.require(dirichlet.data.kind != Kind::none, "dirichlet must not be 'none'");
    o.range.check(call, scene.B, N, scene.D);
  }

  template <class F>
  void for_sides(F&& f) const {
    walk::for_sides(scene, start, N, options.range, options.threads, [&](walk::Walk<T>& walk, std::int64_t begin, std::int64_t side) {
      walk.dirichlet = from_instance(dirichlet.data, side), walk.source = from_instance(source.data, side);
      Media<T> p = medium.from(begin, walk);
      f(p, side);
    });
  }

 private:
  DataOf data_of(const Arguments& call, const char* name, const View& table, const std::string& kind, const py::object& function,
                 const Options& o) const {
    return {call, name, table, kind, function, scene.boundaries.facets(), o.range.first_instance, o.range.rows(call, scene.B), scene.D};
  }
};

template <class T>
void forward(Arguments& call, const Inputs<T>& inputs) {
  const walk::Nodes nodes(call);
  std::int64_t* const beyond = call.output("beyond", "sides N");
  call.all_taken();
  inputs.for_sides([&](Media<T>& p, std::int64_t side) {
    nodes.set(p.walk, side);
    p.beyond = beyond + side * inputs.N;
    kernels<T>().media(p);
  });
}

template <class T>
void adjoint(Arguments& call, const Inputs<T>& inputs) {
  const double* const grad = call.input("grad", "sides N nodes channels");
  for (const char* name : {"dstart", "dframe", "dends", "dfirst"}) call.no_output(name);
  double* const ddirichlet = call.gradient_of("dirichlet");
  double* const dsource = call.gradient_of("source");
  for (const char* name : {"ddiffusion", "dscreening", "dbounds", "dslopes"}) call.no_output(name);
  call.all_taken();
  if (ddirichlet) std::fill_n(ddirichlet, inputs.dirichlet_numbers.size(), 0.0);
  if (dsource) std::fill_n(dsource, inputs.source_numbers.size(), 0.0);
  inputs.for_sides([&](const Media<T>& p, std::int64_t side) {
    MediaAdjoint<T> q{};
    q.forward = p;
    q.grad = grad + side * inputs.N * p.walk.nodes() * p.walk.channels();
    q.numbers[walk::on_boundary] = gradient_from(ddirichlet, inputs.dirichlet.data, side);
    q.numbers[walk::in_domain] = gradient_from(dsource, inputs.source.data, side);
    kernels<T>().media_adjoint(q);
  });
}

template <class T>
void trace(Arguments& call, const Inputs<T>& inputs) {
  const walk::Recording to = walk::recording(call, inputs.options.range, inputs.scene.B, inputs.options.events);
  inputs.for_sides([&](const Media<T>& p, std::int64_t) { kernels<T>().media_trace({p, to}); });
}

enum class Op { forward, adjoint, trace };

// count: right-hand sides that share the walks, or points to record.
template <Op op>
void media(Arguments& call, const std::string& dirichlet_kind, const std::string& source_kind, const std::string& diffusion_kind,
           const std::string& screening_kind, std::int64_t seed, std::int64_t first_walk, std::int64_t walks, std::int64_t max_steps,
           bool gradient, std::int64_t first_instance, std::int64_t first_point, std::int64_t count, py::object grids, py::object g,
           py::object f, py::object a, py::object s, int threads) {
  const std::int64_t nrhs = op == Op::trace ? 1 : count;
  const walk::Range range{seed, first_walk, walks, max_steps, 0, gradient, first_instance, first_point, nrhs};
  const Options options{dirichlet_kind, source_kind, diffusion_kind, screening_kind, range, grids, g, f, a, s, threads, count};
  call.dispatch([&](auto zero) {
    const Inputs<decltype(zero)> inputs(call, options);
    op == Op::forward ? forward(call, inputs) : op == Op::adjoint ? adjoint(call, inputs) : trace(call, inputs);
  });
}

}  // namespace

void bind(py::module_& m) {
  define(m, "media", &media<Op::forward>);
  define(m, "media_vjp", &media<Op::adjoint>);
  define(m, "media_trace", &media<Op::trace>);
}

}  // namespace quatrefoil::wos::media
