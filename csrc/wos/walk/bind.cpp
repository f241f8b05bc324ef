// Arrays from Python -> args, checked, and the grids of a call's polygons. Computes nothing.
#include "wos/polygon/bind.hpp"

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

// ------------------------------------------------------------ where walks run

// The frames of B instances and the boundary: one polygon for all, one each, or the unit ball.
struct Scene {
  const double* frame;
  std::unique_ptr<Polygons> own;  // where no memo was given
  Polygons* polygons = nullptr;
  std::int64_t B, D;

  // Takes frame, ends and first; B and D are sizes of what came before, or of the frame.
  Scene(Arguments& given, const py::object& memo) {
    frame = given.input("frame", "B E");
    B = given["B"], D = given["D"];
    given.require(given["E"] == D + 2 && (D == 2 || D == 3), "frame has d + 2 numbers a row, d = 2 or 3");
    const auto ends = given.optional_input("ends", "M 4");
    const auto first = given.optional_input("first", "F");
    const double* const segments = ends;
    const std::int64_t* const begins = first;
    given.require(ends.view().present == first.view().present, "ends and first go together");
    if (!ends.view().present) return;
    given.require(D == 2 && segments && begins && given["F"] >= 1, "polygons lie in the plane");
    if (memo.is_none()) {
      own = std::make_unique<Polygons>(given, ends.view(), first.view());
      polygons = own.get();
    } else {
      if (!py::isinstance<Polygons>(memo)) given.refuse_type("grids: expected those of a Polygon");
      polygons = memo.cast<Polygons*>();
      given.require(given["M"] == polygons->total() && given["F"] == polygons->count() + 1, "the grids are of other polygons");
    }
    given.require(polygons->count() == 1 || polygons->count() == B, "one polygon, or one an instance");
  }
  data::Pieces pieces() const { return polygons ? polygons->pieces() : data::Pieces{}; }
  std::int64_t polygon(std::int64_t instance) const { return polygons->count() == 1 ? 0 : instance; }
  double epsilon(std::int64_t instance) const { return frame[instance * (D + 2) + D + 1]; }
};

template <class T>
class Grids {  // of instances [begin, end); they live as long as this
 public:
  Grids(const Scene& s, std::int64_t begin, std::int64_t end, int threads) {
    if (!s.polygons) return;
    std::vector<std::int64_t> which, levels;
    for (std::int64_t b = begin; b < end; ++b) {
      which.push_back(s.polygon(b));
      levels.push_back(polygon::grid_level(s.polygons->segments(s.polygon(b)).M, s.epsilon(b)));
    }
    owned_ = s.polygons->grids<T>(which, levels, threads);
    for (const auto& grid : owned_) grids_.push_back(*grid);
  }
  const polygon::Grid<T>* data() const { return grids_.empty() ? nullptr : grids_.data(); }

 private:
  std::vector<std::shared_ptr<polygon::OwnedGrid<T>>> owned_;
  std::vector<polygon::Grid<T>> grids_;
};

struct Options {
  const std::string &dirichlet_kind, &source_kind;
  std::int64_t seed, first_walk, walks, max_steps;
  bool gradient;
  double screening;
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

  Call(Arguments& given, const Options& o)
      : start(given.input("start", "B N D")),
        scene(given, o.grids),
        N(given["N"]),
        dirichlet_numbers(numbers(given, "dirichlet", "R K")),
        source_numbers(numbers(given, "source", "S J")),
        dirichlet(given, "dirichlet", dirichlet_numbers, o.dirichlet_kind, o.g, scene.pieces(), scene.B, scene.D),
        source(given, "source", source_numbers, o.source_kind, o.f, scene.pieces(), scene.B, scene.D),
        options(o) {
    given.require(source.data.kind != data::Kind::per_vertex && dirichlet.data.kind != data::Kind::none, "no such data there");
    given.require(o.first_walk >= 0 && o.walks >= 1 && o.first_walk <= kMaxWalks - o.walks, "walks out of range");
    given.require(o.max_steps >= 1 && o.max_steps < kMaxSteps, "max_steps out of range");
    const int group = o.gradient ? 2 : 1;
    given.require(o.first_walk % group == 0 && o.walks % group == 0, "walks come in pairs");
    given.require(o.screening >= 0 && o.screening < 1e300, "screening out of range");
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
      p.grids = grids.data();
      p.start = start + begin * N * scene.D;
      p.frame = scene.frame + begin * (scene.D + 2);
      p.dirichlet = from_instance(dirichlet.data, begin), p.source = from_instance(source.data, begin);
      p.B = end - begin, p.N = N, p.walks = options.walks, p.first_instance = begin, p.first_walk = options.first_walk;
      p.max_steps = options.max_steps, p.gradient = options.gradient, p.screening = options.screening;
      p.key0 = std::uint32_t(options.seed), p.key1 = std::uint32_t(std::uint64_t(options.seed) >> 32);
      p.dimension = int(scene.D), p.threads = options.threads;
      f(p, begin);
    }
  }

 private:
  static const View& numbers(Arguments& given, const char* name, const char* dims) {
    const auto fitted = given.optional_input(name, dims);
    [[maybe_unused]] const double* const checked = fitted;
    return fitted.view();
  }
};

void walk(Arguments& given, const std::string& dirichlet_kind, const std::string& source_kind, std::int64_t seed, std::int64_t first_walk,
          std::int64_t walks, std::int64_t max_steps, bool gradient, double screening, py::object grids, py::object g, py::object f,
          int threads) {
  const Options options{dirichlet_kind, source_kind, seed, first_walk, walks, max_steps, gradient, screening, grids, g, f, threads};
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
              std::int64_t first_walk, std::int64_t walks, std::int64_t max_steps, bool gradient, double screening, py::object grids,
              py::object g, py::object f, int threads) {
  const Options options{dirichlet_kind, source_kind, seed, first_walk, walks, max_steps, gradient, screening, grids, g, f, threads};
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

void place(Arguments& given, py::object grids, int threads) {
  const bool shared = given.peek(0).rank == 2;
  given.dispatch([&](auto zero) {
    using T = decltype(zero);
    Place<T> p{};
    p.points = given.input("points", shared ? "N D" : "B N D");
    const Scene scene(given, grids);
    p.start = given.output("start", "B N D");
    p.frame = scene.frame, p.B = scene.B, p.N = given["N"], p.shared = shared, p.dimension = int(scene.D), p.threads = threads;
    std::vector<polygon::Segments> segments;
    for (std::int64_t b = 0; scene.polygons && b < p.B; ++b) segments.push_back(scene.polygons->segments(scene.polygon(b)));
    p.segments = segments.empty() ? nullptr : segments.data();
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
  define(m, "place", &place);
  m.def("philox", &philox, py::arg("counters"), py::arg("key0"), py::arg("key1"));
}

}  // namespace quatrefoil::wos::walk
