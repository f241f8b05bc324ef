// Checks arrays from Python and puts them into args.
#include "wos/walk/bind.hpp"

#include <memory>
#include <string>

#include "core/host/isa.hpp"
#include "py/arguments.hpp"
#include "wos/data/bind.hpp"

QF_TABLE(wos, walk)

namespace quatrefoil::wos::walk {
namespace {

using data::DataOf;
using data::from_instance;
using data::gradient_from;
using data::numbers_of;

struct Options {
  const std::string &dirichlet_kind, &source_kind;
  Range range;
  const py::object &grids, &g, &f;
  int threads;
  bool outside = false;
  double reach = 0;
};

// The inputs of a call. for_sides calls f(args, side) for groups of right-hand sides.
template <class T>
struct Inputs {
  const T* start;
  Scene scene;
  std::int64_t N;
  const View &dirichlet_numbers, &source_numbers;
  DataOf dirichlet, source;
  const Options& options;

  // sources: whether the op has a source.
  Inputs(Arguments& call, const Options& o, bool sources = true)
      : start(call.input("start", "B N D")),
        scene(call, o.grids, !o.outside),
        N(call["N"]),
        dirichlet_numbers(numbers_of(call, "dirichlet", "R K")),
        source_numbers(sources ? numbers_of(call, "source", "S J") : nothing()),
        dirichlet(call, "dirichlet", dirichlet_numbers, o.dirichlet_kind, o.g, scene.facets(), o.range.first_instance,
                  o.range.rows(call, scene.B), scene.D),
        source(call, "source", source_numbers, o.source_kind, o.f, scene.facets(), o.range.first_instance, scene.B * o.range.nrhs, scene.D),
        options(o) {
    scene.set_outside(call, o.outside, o.reach);
    const bool known = dirichlet.data.kind != data::Kind::grid && source.data.kind != data::Kind::grid;
    call.require(scene.D <= 3 || known, "data on a grid are supported only in two and three dimensions");
    call.require(source.data.kind != data::Kind::per_vertex && dirichlet.data.kind != data::Kind::none,
                 "dirichlet must not be 'none', and source must not be 'per_vertex'");
    o.range.check(call, scene.B, N, scene.D);
  }

  template <class F>
  void for_sides(F&& f) const {
    walk::for_sides(scene, start, N, options.range, options.threads, [&](Walk<T>& p, std::int64_t, std::int64_t side) {
      p.reach = options.reach;
      p.dirichlet = from_instance(dirichlet.data, side), p.source = from_instance(source.data, side);
      f(p, side);
    });
  }

 private:
  static const View& nothing() {
    static const View absent;
    return absent;
  }
};

template <class T>
void forward(Arguments& call, const Inputs<T>& inputs) {
  const Nodes nodes(call);
  call.all_taken();
  inputs.for_sides([&](Walk<T>& p, std::int64_t side) {
    nodes.set(p, side);
    kernels<T>().walk(p);
  });
}

template <class T>
void adjoint(Arguments& call, const Inputs<T>& inputs) {
  const double* const grad = call.input("grad", "sides N nodes channels");
  for (const char* name : {"dstart", "dframe", "dends", "dfirst"}) call.no_output(name);
  const auto gradient_of = [&](const char* name, const View& numbers) -> double* {  // also null if there are no instances
    double* const to = call.gradient_of(name);
    return numbers.size() ? to : nullptr;
  };
  double* const ddirichlet = gradient_of("dirichlet", inputs.dirichlet_numbers);
  double* const dsource = gradient_of("source", inputs.source_numbers);
  call.all_taken();
#if !defined(QF_DEVICE)  // the device kernel clears them itself
  if (ddirichlet) std::fill_n(ddirichlet, inputs.dirichlet_numbers.size(), 0.0);
  if (dsource) std::fill_n(dsource, inputs.source_numbers.size(), 0.0);
#endif
  inputs.for_sides([&](const Walk<T>& p, std::int64_t side) {
    kernels<T>().walk_adjoint({p, grad + side * p.N * p.nodes() * p.channels(), gradient_from(ddirichlet, inputs.dirichlet.data, side),
                               gradient_from(dsource, inputs.source.data, side)});
  });
}

template <bool is_adjoint>
void walk(Arguments& call, const std::string& dirichlet_kind, const std::string& source_kind, std::int64_t seed, std::int64_t first_walk,
          std::int64_t walks, std::int64_t max_steps, bool gradient, double screening, std::int64_t first_instance,
          std::int64_t first_point, bool outside, double reach, std::int64_t nrhs, bool sobol, py::object grids, py::object g, py::object f,
          int threads) {
  const Range range{seed, first_walk, walks, max_steps, screening, gradient, first_instance, first_point, nrhs, sobol};
  const Options options{dirichlet_kind, source_kind, range, grids, g, f, threads, outside, reach};
  call.dispatch([&](auto zero) {
    const Inputs<decltype(zero)> inputs(call, options);
    is_adjoint ? adjoint(call, inputs) : forward(call, inputs);
  });
}

#if !defined(QF_DEVICE)  // the other ops have no device kernel
void expand(Arguments& call, const std::string& dirichlet_kind, std::int64_t seed, std::int64_t first_point, std::int64_t first_walk,
            std::int64_t walks, std::int64_t samples, std::int64_t max_steps, std::int64_t modes, double screening, py::object grids,
            py::object g, int threads) {
  const py::object none = py::none();
  const std::string no_source = "none";
  const Range range{seed, first_walk, walks, max_steps, screening, true, 0, first_point};
  const Options options{dirichlet_kind, no_source, range, grids, g, none, threads};
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    const Inputs<T> inputs(call, options, false);
    call.require(inputs.scene.D <= 3, "balls are supported only in two and three dimensions");
    call.require(samples >= 1 && walks % (2 * samples) == 0 && modes >= 0 && modes < 1000,
                 "expected whole pairs of walks per sample, and modes below 1000");
    const std::int64_t each = walks / samples;
    call.require((each & (each - 1)) == 0, "walks per sample must be a power of two");
    call.size("samples", samples);
    call.size("harmonics", harmonics(int(inputs.scene.D), modes));
    const double* const reference = call.input("reference", "B N");
    double* const coefficients = call.output("coefficients", "B N samples harmonics");
    std::int64_t* const counts = call.output("counts", "B N 3");
    call.all_taken();
    inputs.for_sides([&](const Walk<T>& p, std::int64_t begin) {
      const std::int64_t row = begin * p.N;
      Expand<T> q{p, samples, modes, reference + row, coefficients + row * samples * harmonics(p.dimension, modes)};
      q.forward.counts = counts + 3 * row;
      kernels<T>().expand(q);
    });
  });
}

void trace(Arguments& call, std::int64_t seed, std::int64_t first_walk, std::int64_t walks, std::int64_t max_steps, double screening,
           std::int64_t first_point, bool outside, double reach, bool sourced, std::int64_t events, bool sobol, py::object grids,
           int threads) {
  const Range range{seed, first_walk, walks, max_steps, screening, false, 0, first_point, 1, sobol};
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    const T* const start = call.input("start", "B N D");
    Scene scene(call, grids, !outside);
    scene.set_outside(call, outside);
    const std::int64_t N = call["N"];
    range.check(call, scene.B, N, scene.D);
    call.require(scene.B == 1, "expected a single instance");
    call.require(events >= 0 && (sourced || events == 0), "events require a source");
    call.size("walks", walks), call.size("events", events);
    Trace<T> q{};
    q.exit = call.output("exit", "N walks D");
    q.weight = call.output("weight", "N walks");
    q.counts = call.output("counts", "N walks 3");
    q.point = call.output("point", "events D");
    q.share = call.output("share", "events");
    q.events = events;
    call.all_taken();
    for_groups(scene, start, N, threads, [&](Walk<T>& p, std::int64_t begin) {
      range.set(p, begin);
      p.reach = reach;
      p.source.kind = sourced ? data::Kind::number : data::Kind::none;
      q.forward = p;
      kernels<T>().trace(q);
    });
  });
}

void gather(Arguments& call, std::int64_t modes, int threads) {
  Gather p{};
  p.coefficients = call.input("coefficients", "balls samples harmonics");
  p.z2 = call.input("z2", "balls");
  p.begin = call.input("begin", "F");
  p.ball = call.input("ball", "P");
  p.offset = call.input("offset", "P D");
  p.weight = call.input("weight", "P");
  p.N = call["F"] - 1, p.samples = call["samples"], p.modes = modes, p.dimension = int(call["D"]), p.threads = threads;
  call.require(p.N >= 0 && (p.dimension == 2 || p.dimension == 3) && modes >= 0 && modes < 1000,
               "expected 2 or 3 dimensions, and modes below 1000");
  call.require(call["harmonics"] == harmonics(p.dimension, modes), "expected one coefficient per harmonic");
  call.require(p.begin[0] == 0 && p.begin[p.N] == call["P"], "begin must start with 0 and end with the length of ball");
  for (std::int64_t i = 0; i < p.N; ++i) call.require(p.begin[i] <= p.begin[i + 1], "begin must never decrease");
  for (std::int64_t k = 0; k < call["P"]; ++k) call.require(p.ball[k] >= 0 && p.ball[k] < call["balls"], "ball is out of range");
  call.size("N", p.N);
  p.values = call.output("values", "N samples");
  call.run(table().gather, p);
}

void balls(Arguments& call, double screening, py::object grids, int threads) {
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    const T* const start = call.input("start", "B N D");
    const Scene scene(call, grids);
    call.require(scene.D <= 3, "balls are supported only in two and three dimensions");
    double* const radius = call.output("radius", "B N");
    call.all_taken();
    const std::int64_t N = call["N"];
    for_groups(scene, start, N, threads, [&](Walk<T>& p, std::int64_t begin) {
      p.screening = screening;
      kernels<T>().balls({p, radius + begin * N});
    });
  });
}

template <class T>
[[noreturn]] void reject_point(const T* points, std::int64_t bad, std::int64_t N, std::int64_t D, bool shared) {
  const std::int64_t row = bad / D;
  const std::string where = (shared ? "" : std::to_string(row / N) + ", ") + std::to_string(row % N) + ", " + std::to_string(bad % D);
  const T value = points[bad];
  throw ValueError("solve: points[" + where + "] is " +
                   (value != value ? "nan"
                    : value > 0    ? "inf"
                                   : "-inf") +
                   ", expected a finite number");
}

void place(Arguments& call, bool closed, bool outside, py::object grids, int threads) {
  const bool shared = call.peek(0).rank == 2;
  call.dispatch([&](auto zero) {
    using T = decltype(zero);
    WalkStarts<T> p{};
    p.points = call.input("points", shared ? "N D" : "B N D");
    Scene scene(call, grids);
    scene.set_outside(call, outside);
    p.solid = scene.boundaries.solid, p.outside = outside;
    p.start = call.output("start", "B N D");
    p.frame = scene.frame, p.B = scene.B, p.N = call["N"], p.shared = shared, p.dimension = int(scene.D), p.threads = threads;
    const auto segments = scene.boundaries.segments(p.B);
    p.segments = scene.boundaries.polygons ? segments.data() : nullptr;
    std::shared_ptr<mesh::OwnedTree<T>> tree;
    if (scene.boundaries.mesh) {
      const GilReleased released;
      tree = scene.boundaries.mesh->template tree<T>(threads, !closed);
    }
    p.mesh = tree.get(), p.closed = closed;
    const std::int64_t bad = call.run(kernels<T>().place, p);
    if (bad >= 0) reject_point(p.points, bad, p.N, scene.D, shared);
  });
}
#endif

}  // namespace

void bind(py::module_& m) {
  define(m, "walk", &walk<false>);
  define(m, "walk_vjp", &walk<true>);
#if !defined(QF_DEVICE)
  define(m, "trace", &trace);
  define(m, "expand", &expand);
  define(m, "balls", &balls);
  define(m, "gather", &gather);
  define(m, "place", &place);
#endif
}

}  // namespace quatrefoil::wos::walk
