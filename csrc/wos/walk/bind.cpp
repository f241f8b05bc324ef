// Arrays from Python -> args, checked, and the grids of a call's polygons. Computes nothing.
#include "wos/query/bind.hpp"

#include <memory>
#include <string>
#include <vector>

#include "core/host/isa.hpp"
#include "py/arguments.hpp"
#include "wos/data/bind.hpp"
#include "wos/walk/args.hpp"

QF_TABLE(wos, walk)

namespace quatrefoil::wos::walk {
namespace {

using data::DataOf;
using data::from_instance;
using polygon::Polygons;

constexpr std::int64_t kInstances = 64;      // whose grids are in memory together
constexpr std::int64_t kMaxSteps = 1 << 20;  // what the counter of the random words holds
constexpr std::int64_t kMaxWalks = 1LL << 32;
constexpr std::int64_t kMaxIndex = 1LL << 32;  // of instances and points: words of the counter

// ------------------------------------------------------------ where walks run

// The frames of B instances and the boundary: one polygon for all, one each, a mesh, or the unit ball.
struct Scene {
  const double* frame;
  std::int64_t B, D;
  query::Boundaries boundaries;

  // Takes frame, ends and first; B and D are sizes of what came before, or of the frame.
  Scene(Arguments& given, const py::object& memo)
      : frame(given.input("frame", "B E")), B(given["B"]), D(given["D"]), boundaries(given, memo, B, D) {
    given.require(given["E"] == D + 2 && (D == 2 || D == 3), "frame has d + 2 numbers a row, d = 2 or 3");
  }
  double epsilon(std::int64_t instance) const { return frame[instance * (D + 2) + D + 1]; }
};

template <class T>
class Grids {  // of instances [begin, end); they live as long as this
 public:
  Grids(const Scene& s, std::int64_t begin, std::int64_t end, int threads) {
    const query::Boundaries& all = s.boundaries;
    if (all.mesh) mesh_ = all.mesh->template grid<T>(mesh::grid_level(all.mesh->count(), s.epsilon(0)), threads);
    if (!all.polygons) return;
    std::vector<std::int64_t> which, levels;
    for (std::int64_t b = begin; b < end; ++b) {
      which.push_back(all.polygon(b));
      levels.push_back(polygon::grid_level(all.polygons->segments(all.polygon(b)).M, s.epsilon(b)));
    }
    owned_ = all.polygons->template grids<T>(which, levels, threads);
    for (const auto& grid : owned_) grids_.push_back(*grid);
  }
  const polygon::Grid<T>* data() const { return grids_.empty() ? nullptr : grids_.data(); }
  mesh::Grid<T>* mesh() const { return mesh_.get(); }

 private:
  std::shared_ptr<mesh::OwnedGrid<T>> mesh_;
  std::vector<std::shared_ptr<polygon::OwnedGrid<T>>> owned_;
  std::vector<polygon::Grid<T>> grids_;
};

struct Options {
  const std::string &dirichlet_kind, &source_kind;
  std::int64_t seed, first_walk, walks, max_steps;
  bool gradient;
  double screening;
  std::int64_t first_instance, first_point;
  const py::object &grids, &g, &f;
  int threads;
};

// The inputs of a call, and f(args of instances [begin, end), begin, end) for groups of them, without the GIL.
template <class T>
struct Call {
  const T* start;
  Scene scene;
  std::int64_t N;
  const View &dirichlet_numbers, &source_numbers;
  DataOf dirichlet, source;
  const Options& options;

  // sources: the op takes some.
  Call(Arguments& given, const Options& o, bool sources = true)
      : start(given.input("start", "B N D")),
        scene(given, o.grids),
        N(given["N"]),
        dirichlet_numbers(numbers(given, "dirichlet", "R K")),
        source_numbers(sources ? numbers(given, "source", "S J") : nothing()),
        dirichlet(given, "dirichlet", dirichlet_numbers, o.dirichlet_kind, o.g, scene.boundaries.pieces(), o.first_instance, scene.B,
                  scene.D),
        source(given, "source", source_numbers, o.source_kind, o.f, scene.boundaries.pieces(), o.first_instance, scene.B, scene.D),
        options(o) {
    given.require(source.data.kind != data::Kind::per_vertex && dirichlet.data.kind != data::Kind::none, "no such data there");
    given.require(o.first_walk >= 0 && o.walks >= 1 && o.first_walk <= kMaxWalks - o.walks, "walks out of range");
    given.require(o.max_steps >= 1 && o.max_steps < kMaxSteps, "max_steps out of range");
    const int group = o.gradient ? 2 : 1;
    given.require(o.first_walk % group == 0 && o.walks % group == 0, "walks come in pairs");
    given.require(o.screening >= 0 && o.screening < 1e300, "screening out of range");
    given.require(o.first_instance >= 0 && o.first_instance <= kMaxIndex - scene.B, "instances out of range");
    given.require(o.first_point >= 0 && o.first_point <= kMaxIndex - N, "points out of range");
    given.size("nodes", node_count(o.first_walk / group, o.walks / group));
    given.size("channels", o.gradient ? 1 + scene.D : 1);
  }

  template <class F>
  void for_groups(F&& f) const {
    const GilReleased released;
    for (std::int64_t begin = 0; begin < scene.B; begin += kInstances) {
      const std::int64_t end = std::min(scene.B, begin + kInstances);
      const Grids<T> grids(scene, begin, end, options.threads);
      Walk<T> p{};
      p.grids = grids.data(), p.mesh = grids.mesh();
      p.start = start + begin * N * scene.D;
      p.frame = scene.frame + begin * (scene.D + 2);
      p.dirichlet = from_instance(dirichlet.data, begin), p.source = from_instance(source.data, begin);
      p.B = end - begin, p.N = N, p.walks = options.walks, p.first_walk = options.first_walk;
      p.first_instance = options.first_instance + begin, p.first_point = options.first_point;
      p.max_steps = options.max_steps, p.gradient = options.gradient, p.screening = options.screening;
      p.key0 = std::uint32_t(options.seed), p.key1 = std::uint32_t(std::uint64_t(options.seed) >> 32);
      p.dimension = int(scene.D), p.threads = options.threads;
      f(p, begin);
    }
  }

 private:
  static const View& nothing() {
    static const View absent;
    return absent;
  }
  static const View& numbers(Arguments& given, const char* name, const char* dims) {
    const auto fitted = given.optional_input(name, dims);
    [[maybe_unused]] const double* const checked = fitted;
    return fitted.view();
  }
};

void walk(Arguments& given, const std::string& dirichlet_kind, const std::string& source_kind, std::int64_t seed, std::int64_t first_walk,
          std::int64_t walks, std::int64_t max_steps, bool gradient, double screening, std::int64_t first_instance,
          std::int64_t first_point, py::object grids, py::object g, py::object f, int threads) {
  const Options options{dirichlet_kind, source_kind,    seed,        first_walk, walks, max_steps, gradient,
                        screening,      first_instance, first_point, grids,      g,     f,         threads};
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    const Call<T> call(given, options);
    double* const mean = given.output("mean", "B N nodes channels");
    double* const m2 = given.output("m2", "B N nodes channels");
    std::int64_t* const counts = given.output("counts", "B N 3");
    given.all_taken();
    call.for_groups([&](Walk<T>& p, std::int64_t begin) {
      const std::int64_t row = begin * p.N;
      const std::int64_t width = p.nodes() * p.channels();
      p.mean = mean + row * width, p.m2 = m2 + row * width, p.counts = counts + 3 * row;
      kernels<T>().walk(p);
    });
  });
}

void walk_vjp(Arguments& given, const std::string& dirichlet_kind, const std::string& source_kind, std::int64_t seed,
              std::int64_t first_walk, std::int64_t walks, std::int64_t max_steps, bool gradient, double screening,
              std::int64_t first_instance, std::int64_t first_point, py::object grids, py::object g, py::object f, int threads) {
  const Options options{dirichlet_kind, source_kind,    seed,        first_walk, walks, max_steps, gradient,
                        screening,      first_instance, first_point, grids,      g,     f,         threads};
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    const Call<T> call(given, options);
    const double* const grad = given.input("grad", "B N nodes channels");
    for (const char* name : {"dstart", "dframe", "dends", "dfirst"}) given.no_output(name);
    double* const ddirichlet = given.gradient_of("dirichlet");
    double* const dsource = given.gradient_of("source");
    given.all_taken();
    if (ddirichlet) std::fill_n(ddirichlet, call.dirichlet_numbers.size(), 0.0);
    if (dsource) std::fill_n(dsource, call.source_numbers.size(), 0.0);
    call.for_groups([&](const Walk<T>& p, std::int64_t begin) {
      const auto at = [&](double* d, const data::Data& of) { return d ? d + (of.offsets ? 0 : begin * of.stride) : nullptr; };
      WalkAdjoint<T> q{};
      q.forward = p;
      q.grad = grad + begin * p.N * p.nodes() * p.channels();
      q.ddirichlet = at(ddirichlet, call.dirichlet.data), q.dsource = at(dsource, call.source.data);
      kernels<T>().walk_adjoint(q);
    });
  });
}

void expand(Arguments& given, const std::string& dirichlet_kind, std::int64_t seed, std::int64_t first_point, std::int64_t first_walk,
            std::int64_t walks, std::int64_t samples, std::int64_t max_steps, std::int64_t modes, double screening, py::object grids,
            py::object g, int threads) {
  const py::object none = py::none();
  const std::string no_source = "none";
  const Options options{dirichlet_kind, no_source, seed,        first_walk, walks, max_steps, true,
                        screening,      0,         first_point, grids,      g,     none,      threads};
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    const Call<T> call(given, options, false);
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
    double* const radius = given.output("radius", "B N");
    given.all_taken();
    const GilReleased released;
    for (std::int64_t begin = 0; begin < scene.B; begin += kInstances) {
      const std::int64_t end = std::min(scene.B, begin + kInstances);
      const Grids<T> boundaries(scene, begin, end, threads);
      Balls<T> q{};
      q.forward.grids = boundaries.data(), q.forward.mesh = boundaries.mesh();
      q.forward.start = start + begin * given["N"] * scene.D;
      q.forward.frame = scene.frame + begin * (scene.D + 2), q.forward.screening = screening;
      q.forward.B = end - begin, q.forward.N = given["N"], q.forward.dimension = int(scene.D), q.forward.threads = threads;
      q.radius = radius + begin * given["N"];
      kernels<T>().balls(q);
    }
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

void place(Arguments& given, bool closed, py::object grids, int threads) {
  const bool shared = given.peek(0).rank == 2;
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    Place<T> p{};
    p.points = given.input("points", shared ? "N D" : "B N D");
    const Scene scene(given, grids);
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

py::array_t<std::uint32_t> philox(const py::array_t<std::uint32_t, py::array::c_style | py::array::forcecast>& counters, std::uint32_t key0,
                                  std::uint32_t key1) {
  if (counters.ndim() != 2 || counters.shape(1) != 4) throw ValueError("wos.philox: expected counters (n, 4)");
  py::array_t<std::uint32_t> words({counters.shape(0), py::ssize_t(4)});
  table().philox(counters.data(), counters.shape(0), key0, key1, words.mutable_data());
  return words;
}

}  // namespace

void bind(py::module_& m) {
  define(m, "walk", &walk);
  define(m, "walk_vjp", &walk_vjp);
  define(m, "expand", &expand);
  define(m, "balls", &balls);
  define(m, "gather", &gather);
  define(m, "place", &place);
  m.def("philox", &philox, py::arg("counters"), py::arg("key0"), py::arg("key1"));
}

}  // namespace quatrefoil::wos::walk
