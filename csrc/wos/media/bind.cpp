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
};

// The inputs of a call. for_groups calls f(args, begin) for groups of instances.
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
  void for_groups(F&& f) const {
    walk::for_groups(scene, start, N, options.threads, [&](walk::Walk<T>& walk, std::int64_t begin) {
      options.range.set(walk, begin);
      walk.dirichlet = from_instance(dirichlet.data, begin), walk.source = from_instance(source.data, begin);
      Media<T> p = medium.from(begin, walk);
      f(p, begin);
    });
  }

 private:
  DataOf data_of(const Arguments& call, const char* name, const View& table, const std::string& kind, const py::object& function,
                 const Options& o) const {
    return {call, name, table, kind, function, scene.boundaries.facets(), o.range.first_instance, scene.B, scene.D};
  }
};

template <class T>
void forward(Arguments& call, const Inputs<T>& inputs) {
  const walk::Nodes nodes(call, "B");
  std::int64_t* const beyond = call.output("beyond", "B N");
  call.all_taken();
  inputs.for_groups([&](Media<T>& p, std::int64_t begin) {
    nodes.set(p.walk, begin);
    p.beyond = beyond + begin * inputs.N;
    kernels<T>().media(p);
  });
}

template <class T>
void adjoint(Arguments& call, const Inputs<T>& inputs) {
  const double* const grad = call.input("grad", "B N nodes channels");
  for (const char* name : {"dstart", "dframe", "dends", "dfirst"}) call.no_output(name);
  double* const ddirichlet = call.gradient_of("dirichlet");
  double* const dsource = call.gradient_of("source");
  for (const char* name : {"ddiffusion", "dscreening", "dbounds", "dslopes"}) call.no_output(name);
  call.all_taken();
  if (ddirichlet) std::fill_n(ddirichlet, inputs.dirichlet_numbers.size(), 0.0);
  if (dsource) std::fill_n(dsource, inputs.source_numbers.size(), 0.0);
  inputs.for_groups([&](const Media<T>& p, std::int64_t begin) {
    MediaAdjoint<T> q{};
    q.forward = p;
    q.grad = grad + begin * inputs.N * p.walk.nodes() * p.walk.channels();
    q.ddirichlet = gradient_from(ddirichlet, inputs.dirichlet.data, begin), q.dsource = gradient_from(dsource, inputs.source.data, begin);
    kernels<T>().media_adjoint(q);
  });
}

template <bool vjp>
void media(Arguments& call, const std::string& dirichlet_kind, const std::string& source_kind, const std::string& diffusion_kind,
           const std::string& screening_kind, std::int64_t seed, std::int64_t first_walk, std::int64_t walks, std::int64_t max_steps,
           bool gradient, std::int64_t first_instance, std::int64_t first_point, py::object grids, py::object g, py::object f, py::object a,
           py::object s, int threads) {
  const walk::Range range{seed, first_walk, walks, max_steps, 0, gradient, first_instance, first_point};
  const Options options{dirichlet_kind, source_kind, diffusion_kind, screening_kind, range, grids, g, f, a, s, threads};
  call.dispatch([&](auto zero) {
    const Inputs<decltype(zero)> inputs(call, options);
    vjp ? adjoint(call, inputs) : forward(call, inputs);
  });
}

}  // namespace

void bind(py::module_& m) {
  define(m, "media", &media<false>);
  define(m, "media_vjp", &media<true>);
}

}  // namespace quatrefoil::wos::media
