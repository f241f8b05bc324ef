// Arrays from Python -> args, checked. Computes nothing.
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
  std::int64_t first_instance, first_point;
  const py::object &grids, &g, &f;
  int threads;
  bool outside = false;
  std::int64_t nrhs = 1;
};

// The inputs of a call, and f(args, begin) for groups of its instances.
template <class T>
struct Call {
  const T* start;
  Scene scene;
  std::int64_t N;
  const View &dirichlet_numbers, &source_numbers;
  DataOf dirichlet, source;
  const Options& options;

  // sources: the op has a source.
  Call(Arguments& given, const Options& o, bool sources = true)
      : start(given.input("start", "B N D")),
        scene(given, o.grids),
        N(given["N"]),
        dirichlet_numbers(numbers_of(given, "dirichlet", "R K")),
        source_numbers(sources ? numbers_of(given, "source", "S J") : nothing()),
        dirichlet(given, "dirichlet", dirichlet_numbers, o.dirichlet_kind, o.g, scene.pieces(), o.first_instance, rows(given, o), scene.D),
        source(given, "source", source_numbers, o.source_kind, o.f, scene.pieces(), o.first_instance, rows(given, o), scene.D),
        options(o) {
    scene.set_outside(given, o.outside);
    given.require(!o.outside || (source.data.kind == data::Kind::none && o.range.screening == 0), "outside u is harmonic");
    const bool known = dirichlet.data.kind != data::Kind::grid && source.data.kind != data::Kind::grid;
    given.require(scene.D <= 3 || known, "a grid has two or three axes");
    given.require(source.data.kind != data::Kind::per_vertex && dirichlet.data.kind != data::Kind::none, "invalid kind of data");
    o.range.check(given);
    check_indices(given, o.first_instance, scene.B, o.first_point, N);
    given.size("channels", o.range.pairs ? 1 + scene.D : 1);
    given.size("sides", scene.B * o.nrhs);
  }

  template <class F>
  void for_groups(F&& f) const {
    walk::for_groups(scene, start, N, options.threads, [&](Walk<T>& p, std::int64_t begin) {
      options.range.set(p);
      p.first_instance = options.first_instance + begin, p.first_point = options.first_point;
      std::int64_t side = 0;
      do {
        p.nrhs = std::min(kTogether, options.nrhs - side), p.first_data = p.first_instance + side;
        p.dirichlet = from_instance(dirichlet.data, begin + side), p.source = from_instance(source.data, begin + side);
        f(p, begin + side);
        side += kTogether;
      } while (side < options.nrhs);
    });
  }

 private:
#if defined(QF_DEVICE)
  static constexpr std::int64_t kTogether = 1LL << 40;  // walks are repeated for each
#else
  static constexpr std::int64_t kTogether = 64;  // right-hand sides that share walks, which are repeated for the next ones
#endif
  // The number of right-hand sides.
  std::int64_t rows(Arguments& given, const Options& o) const {
    given.require(o.nrhs == 1 || (o.nrhs >= 0 && scene.B == 1), "right-hand sides share the walks of one instance");
    return scene.B * o.nrhs;
  }
  static const View& nothing() {
    static const View absent;
    return absent;
  }
};

template <class T>
void forward(Arguments& given, const Call<T>& call) {
  double* const mean = given.output("mean", "sides N nodes channels");
  double* const m2 = given.output("m2", "sides N nodes channels");
  std::int64_t* const counts = given.output("counts", "sides N 3");
  given.all_taken();
  call.for_groups([&](Walk<T>& p, std::int64_t begin) {
    const std::int64_t row = begin * p.N, width = p.nodes() * p.channels();
    p.mean = mean + row * width, p.m2 = m2 + row * width, p.counts = counts + 3 * row;
    kernels<T>().walk(p);
  });
}

template <class T>
void adjoint(Arguments& given, const Call<T>& call) {
  const double* const grad = given.input("grad", "sides N nodes channels");
  for (const char* name : {"dstart", "dframe", "dends", "dfirst"}) given.no_output(name);
  const auto gradient_of = [&](const char* name, const View& numbers) -> double* {  // null for rows of no instances too
    double* const to = given.gradient_of(name);
    return numbers.size() ? to : nullptr;
  };
  double* const ddirichlet = gradient_of("dirichlet", call.dirichlet_numbers);
  double* const dsource = gradient_of("source", call.source_numbers);
  given.all_taken();
#if !defined(QF_DEVICE)  // where the kernel does it
  if (ddirichlet) std::fill_n(ddirichlet, call.dirichlet_numbers.size(), 0.0);
  if (dsource) std::fill_n(dsource, call.source_numbers.size(), 0.0);
#endif
  call.for_groups([&](const Walk<T>& p, std::int64_t begin) {
    kernels<T>().walk_adjoint({p, grad + begin * p.N * p.nodes() * p.channels(), gradient_from(ddirichlet, call.dirichlet.data, begin),
                               gradient_from(dsource, call.source.data, begin)});
  });
}

// walk, and walk_vjp.
template <bool is_adjoint>
void walk(Arguments& given, const std::string& dirichlet_kind, const std::string& source_kind, std::int64_t seed, std::int64_t first_walk,
          std::int64_t walks, std::int64_t max_steps, bool gradient, double screening, std::int64_t first_instance,
          std::int64_t first_point, bool outside, std::int64_t nrhs, py::object grids, py::object g, py::object f, int threads) {
  const Range range{seed, first_walk, walks, max_steps, screening, gradient};
  const Options options{dirichlet_kind, source_kind, range, first_instance, first_point, grids, g, f, threads, outside, nrhs};
  given.dispatch([&](auto zero) {
    const Call<decltype(zero)> call(given, options);
    is_adjoint ? adjoint(given, call) : forward(given, call);
  });
}

#if !defined(QF_DEVICE)  // the others have no kernel there
void expand(Arguments& given, const std::string& dirichlet_kind, std::int64_t seed, std::int64_t first_point, std::int64_t first_walk,
            std::int64_t walks, std::int64_t samples, std::int64_t max_steps, std::int64_t modes, double screening, py::object grids,
            py::object g, int threads) {
  const py::object none = py::none();
  const std::string no_source = "none";
  const Range range{seed, first_walk, walks, max_steps, screening, true};
  const Options options{dirichlet_kind, no_source, range, 0, first_point, grids, g, none, threads};
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    const Call<T> call(given, options, false);
    given.require(call.scene.D <= 3, "balls are those of the plane or of space");
    given.require(samples >= 1 && walks % (2 * samples) == 0 && modes >= 0 && modes < 1000, "samples are of whole pairs, modes below 1000");
    const std::int64_t each = walks / samples;
    given.require((each & (each - 1)) == 0, "a sample has a power of two of walks");
    given.size("samples", samples);
    given.size("harmonics", harmonics(int(call.scene.D), modes));
    const double* const reference = given.input("reference", "B N");
    double* const coefficients = given.output("coefficients", "B N samples harmonics");
    std::int64_t* const counts = given.output("counts", "B N 3");
    given.all_taken();
    call.for_groups([&](const Walk<T>& p, std::int64_t begin) {
      const std::int64_t row = begin * p.N;
      Expand<T> q{p, samples, modes, reference + row, coefficients + row * samples * harmonics(p.dimension, modes)};
      q.forward.counts = counts + 3 * row;
      kernels<T>().expand(q);
    });
  });
}

void gather(Arguments& given, std::int64_t modes, int threads) {
  Gather p{};
  p.coefficients = given.input("coefficients", "balls samples harmonics");
  p.z2 = given.input("z2", "balls");
  p.begin = given.input("begin", "F");
  p.ball = given.input("ball", "P");
  p.offset = given.input("offset", "P D");
  p.weight = given.input("weight", "P");
  p.N = given["F"] - 1, p.samples = given["samples"], p.modes = modes, p.dimension = int(given["D"]), p.threads = threads;
  given.require(p.N >= 0 && (p.dimension == 2 || p.dimension == 3) && modes >= 0 && modes < 1000, "d is 2 or 3, modes below 1000");
  given.require(given["harmonics"] == harmonics(p.dimension, modes), "as many coefficients as harmonics");
  given.require(p.begin[0] == 0 && p.begin[p.N] == given["P"], "begin does not fit ball");
  for (std::int64_t i = 0; i < p.N; ++i) given.require(p.begin[i] <= p.begin[i + 1], "begin does not rise");
  for (std::int64_t k = 0; k < given["P"]; ++k) given.require(p.ball[k] >= 0 && p.ball[k] < given["balls"], "no such ball");
  given.size("N", p.N);
  p.values = given.output("values", "N samples");
  given.run(table().gather, p);
}

void balls(Arguments& given, double screening, py::object grids, int threads) {
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    const T* const start = given.input("start", "B N D");
    const Scene scene(given, grids);
    given.require(scene.D <= 3, "balls are those of the plane or of space");
    double* const radius = given.output("radius", "B N");
    given.all_taken();
    const std::int64_t N = given["N"];
    for_groups(scene, start, N, threads, [&](Walk<T>& p, std::int64_t begin) {
      p.screening = screening;
      kernels<T>().balls({p, radius + begin * N});
    });
  });
}

template <class T>
[[noreturn]] void refuse_point(const T* points, std::int64_t bad, std::int64_t N, std::int64_t D, bool shared) {
  const std::int64_t row = bad / D;
  const std::string where = (shared ? "" : std::to_string(row / N) + ", ") + std::to_string(row % N) + ", " + std::to_string(bad % D);
  const T value = points[bad];
  throw ValueError("solve: points[" + where + "] is " +
                   (value != value ? "nan"
                    : value > 0    ? "inf"
                                   : "-inf") +
                   ", expected a finite number");
}

void place(Arguments& given, bool closed, bool outside, py::object grids, int threads) {
  const bool shared = given.peek(0).rank == 2;
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    Place<T> p{};
    p.points = given.input("points", shared ? "N D" : "B N D");
    Scene scene(given, grids);
    scene.set_outside(given, outside);
    p.solid = scene.boundaries.solid, p.outside = outside;
    p.start = given.output("start", "B N D");
    p.frame = scene.frame, p.B = scene.B, p.N = given["N"], p.shared = shared, p.dimension = int(scene.D), p.threads = threads;
    const auto segments = scene.boundaries.segments(p.B);
    p.segments = scene.boundaries.polygons ? segments.data() : nullptr;
    std::shared_ptr<mesh::OwnedTree<T>> tree;
    if (scene.boundaries.mesh) {
      const GilReleased released;
      tree = scene.boundaries.mesh->template tree<T>(threads);
    }
    p.mesh = tree.get(), p.closed = closed;
    const std::int64_t bad = given.run(kernels<T>().place, p);
    if (bad >= 0) refuse_point(p.points, bad, p.N, scene.D, shared);
  });
}
#endif

}  // namespace

void bind(py::module_& m) {
  define(m, "walk", &walk<false>);
  define(m, "walk_vjp", &walk<true>);
#if !defined(QF_DEVICE)
  define(m, "expand", &expand);
  define(m, "balls", &balls);
  define(m, "gather", &gather);
  define(m, "place", &place);
#endif
}

}  // namespace quatrefoil::wos::walk
