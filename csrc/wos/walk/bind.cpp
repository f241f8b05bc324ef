// Views -> args, the polygons' grids, and the GIL released around the kernels. Computes nothing.
#include "wos/polygon/bind.hpp"

#include <cstring>
#include <memory>
#include <vector>

#include "core/host/dispatch.hpp"
#include "core/host/isa.hpp"
#include "py/caster.hpp"
#include "wos/walk/args.hpp"

QF_TABLE(wos, walk)

namespace quatrefoil::wos::walk {
namespace {

using polygon::kMaxLevel;
using polygon::OwnedGrid;
using polygon::Polygons;

void call_compiled(void* context, std::int64_t, std::int64_t n, const double* x, double* out) {
  reinterpret_cast<void (*)(std::int64_t, const double*, double*)>(context)(n, x, out);
}
// The caller's f(instance, X (n d,)) -> (n,): with the GIL, on numbers of its own, which it may keep.
void call_python(void* context, std::int64_t instance, std::int64_t n, const double* x, double* out) {
  py::gil_scoped_acquire held;
  const py::handle function(static_cast<PyObject*>(context));
  const std::int64_t d = function.attr("dimension").cast<std::int64_t>();
  py::array_t<double> points({n, d}, x);
  const py::object answer = function(instance, points);
  const Input values(answer, "the values of a function");
  require(values.size() == n && values.dtype == Dtype::f64, "solve", "a function gave another number of values than it got points");
  std::memcpy(out, values.as<double>(), std::size_t(n) * sizeof(double));
}

// (kind, numbers or None, numbers an instance, stride, callback: None, an address, or an object)
class DataOf {
 public:
  DataOf(const py::tuple& t, std::int64_t instances, std::int64_t pairs, int dimension) : numbers_(t[1], "data") {
    data.kind = data::Kind(t[0].cast<int>());
    data.width = t[2].cast<std::int64_t>();
    data.stride = t[3].cast<std::int64_t>();
    data.numbers = numbers_.as<double>();
    require(!numbers_ || numbers_.dtype == Dtype::f64, "solve", "data must be float64");
    const std::int64_t have = numbers_ ? numbers_.size() : 0;
    require(data.width >= 0 && data.stride >= 0, "solve", "data sizes");
    switch (data.kind) {
      case data::Kind::none: break;
      case data::Kind::number: require(data.width == 1, "solve", "data sizes"); break;
      case data::Kind::fourier: require(data.width >= 3 && dimension == 2, "solve", "data sizes"); break;
      case data::Kind::gaussians: break;
      case data::Kind::per_vertex: require(have >= 2 * pairs, "solve", "one pair of values a segment"); break;
      case data::Kind::callback:
        owner_ = t[4];
        if (py::isinstance<py::int_>(owner_)) {
          data.callback = call_compiled;
          data.context = reinterpret_cast<void*>(owner_.cast<std::uintptr_t>());
          require(data.context != nullptr, "solve", "a null callback");
        } else {
          data.callback = call_python;
          data.context = owner_.ptr();
        }
        break;
      default: throw ValueError("solve: unknown kind of data");
    }
    if (data.width > 0 && instances > 0) require(have >= (instances - 1) * data.stride + data.width, "solve", "data sizes");
  }
  data::Data data;

 private:
  Input numbers_;
  py::object owner_;
};

std::int64_t node_count(std::int64_t first, std::int64_t walks) {  // aligned powers of two that make up the range
  std::int64_t nodes = 0;
  for (std::int64_t at = first; at < first + walks; ++nodes) {
    std::int64_t size = 1;
    while (at % (2 * size) == 0 && at + 2 * size <= first + walks) size *= 2;
    at += size;
  }
  return nodes;
}

// Where the walks run: B instances of N points.
struct Geometry {
  const Input start, live, epsilon, centre, extent, levels;
  const std::int64_t B, N;
  const int dimension;

  explicit Geometry(const py::tuple& t)
      : start(t[0], "start"),
        live(t[1], "live"),
        epsilon(t[2], "epsilon"),
        centre(t[3], "centre"),
        extent(t[4], "extent"),
        levels(t[5], "levels"),
        B(start.dim(3)),
        N(start.dim(2)),
        dimension(int(start.dim(1))) {
    require(start.rank == 3 && live.size() == B * N && live.dtype == Dtype::b8, "solve", "start or live");
    require(epsilon.size() == B && extent.size() == B && centre.size() == B * dimension && levels.size() == B, "solve",
            "shapes of the geometry");
    require(epsilon.dtype == Dtype::f64 && extent.dtype == Dtype::f64 && centre.dtype == Dtype::f64 && levels.dtype == Dtype::i64, "solve",
            "dtypes of the geometry");
    for (std::int64_t b = 0; b < B; ++b)
      require(levels.as<std::int64_t>()[b] >= 0 && levels.as<std::int64_t>()[b] <= kMaxLevel, "solve", "levels");
  }
};

// What comes back: the nodes of every point, counts that are added to, and the walks' ends where they are wanted.
struct Answers {
  const Output mean, m2, total, truncated, escaped, ends, primitives;

  Answers(const py::tuple& t, std::int64_t rows, std::int64_t walks, std::int64_t nodes, int dimension)
      : mean(t[0], "mean"),
        m2(t[1], "m2"),
        total(t[2], "total_steps"),
        truncated(t[3], "truncated"),
        escaped(t[4], "escaped"),
        ends(t[5], "ends"),
        primitives(t[6], "primitives") {
    for (const Output* part : {&mean, &m2}) require(part->size() == rows * nodes && part->dtype == Dtype::f64, "solve", "nodes");
    for (const Output* part : {&total, &truncated, &escaped}) require(part->size() == rows && part->dtype == Dtype::i64, "solve", "counts");
    require(bool(ends) == bool(primitives), "solve", "ends and primitives go together");
    require(!ends || (ends.size() == rows * walks * (dimension + 1) && ends.dtype == Dtype::f64), "solve", "ends");
    require(!primitives || (primitives.size() == rows * walks && primitives.dtype == Dtype::i64), "solve", "primitives");
  }
};

// The walks of one call, and room for their values.
struct Range {
  std::int64_t first_instance, first_walk, walks, max_steps;
  std::uint64_t key;
  int threads;
  std::unique_ptr<double[]> values;
  std::unique_ptr<std::uint32_t[]> steps;
};

template <class T>
Walk<T> walk_args(const Geometry& g, const Answers& answers, const Range& range, const data::Data& dirichlet, const data::Data& source) {
  Walk<T> p{};
  p.start = g.start.as<T>(), p.live = g.live.as<std::uint8_t>();
  p.epsilon = g.epsilon.as<double>(), p.centre = g.centre.as<double>(), p.extent = g.extent.as<double>();
  p.values = range.values.get(), p.steps = range.steps.get();
  p.ends = answers.ends.as<double>(), p.primitives = answers.primitives.as<std::int64_t>();
  p.B = g.B, p.N = g.N, p.walks = range.walks, p.first_walk = range.first_walk, p.first_instance = range.first_instance;
  p.max_steps = range.max_steps;
  p.key0 = std::uint32_t(range.key), p.key1 = std::uint32_t(range.key >> 32);
  p.dirichlet = dirichlet, p.source = source;
  for (data::Data* data : {&p.dirichlet, &p.source})
    if (data->numbers && data->kind != data::Kind::per_vertex) data->numbers += range.first_instance * data->stride;
  p.dimension = g.dimension, p.threads = range.threads;
  return p;
}

// geometry: start (B, N, d), live (B, N), epsilon, centre, extent, levels (B,); answers: see there.
void walk(Polygons* polygons, const py::tuple& geometry, const py::tuple& dirichlet_, const py::tuple& source_, std::int64_t first_instance,
          std::int64_t first_walk, std::int64_t walks, std::int64_t max_steps, std::uint64_t key, const py::tuple& answers_, int threads) {
  constexpr const char* name = "solve";
  const Geometry g(geometry);
  const bool shared = polygons && polygons->count() == 1;  // one polygon serves every instance
  require(walks >= 0 && first_walk >= 0 && first_instance >= 0, name, "ranges");
  require(g.dimension == 2 || (!polygons && g.dimension == 3), name, "dimension");
  require(!polygons || shared || first_instance + g.B <= polygons->count(), name, "instances");
  const std::int64_t rows = g.B * g.N, nodes = node_count(first_walk, walks);
  const Answers answers(answers_, rows, walks, nodes, g.dimension);

  const std::int64_t last_pair_from = shared && g.B > 0 ? (first_instance + g.B - 1) * dirichlet_[3].cast<std::int64_t>() : 0;
  const std::int64_t pairs = !polygons ? 0 : polygons->first_segment()[shared ? 1 : first_instance + g.B] + last_pair_from;
  const DataOf dirichlet(dirichlet_, first_instance + g.B, pairs, g.dimension), source(source_, first_instance + g.B, 0, g.dimension);
  require(source.data.kind != data::Kind::per_vertex && (polygons || dirichlet.data.kind != data::Kind::per_vertex), name,
          "values at vertices need a polygon");
  std::vector<std::int64_t> first_pair;
  for (std::int64_t b = first_instance; polygons && b < first_instance + g.B; ++b)
    first_pair.push_back(shared ? b * dirichlet.data.stride : polygons->first_segment()[b]);
  const Range range{first_instance,
                    first_walk,
                    walks,
                    max_steps,
                    key,
                    threads,
                    std::unique_ptr<double[]>(new double[std::size_t(rows * walks)]),
                    std::unique_ptr<std::uint32_t[]>(new std::uint32_t[std::size_t(rows * walks)])};

  dispatch_real(g.start.dtype, name, [&](auto zero) {
    using T = decltype(zero);
    Walk<T> p = walk_args<T>(g, answers, range, dirichlet.data, source.data);
    Reduce r{};
    r.values = p.values, r.steps = p.steps, r.live = p.live, r.rows = rows, r.walks = walks, r.first_walk = first_walk, r.nodes = nodes;
    r.mean = answers.mean.as<double>(), r.m2 = answers.m2.as<double>();
    r.total_steps = answers.total.as<std::int64_t>(), r.truncated = answers.truncated.as<std::int64_t>();
    r.escaped = answers.escaped.as<std::int64_t>(), r.threads = threads;
    const std::int64_t* const levels = g.levels.as<std::int64_t>();
    py::gil_scoped_release released;
    std::vector<std::shared_ptr<OwnedGrid<T>>> owned;
    std::vector<polygon::Grid<T>> grids;
    if (polygons) {
      owned = polygons->grids<T>(shared ? 0 : first_instance, shared ? (g.B > 0) : first_instance + g.B, levels, threads);
      for (std::int64_t b = 0; b < g.B; ++b) grids.push_back(*owned[std::size_t(shared ? 0 : b)]);
      p.grids = grids.data();
      p.first_segment = first_pair.data();
    }
    kernels<T>().walk(p);
    table().reduce(r);
  });
}

py::array_t<std::uint32_t> philox(const py::array_t<std::uint32_t, py::array::c_style | py::array::forcecast>& counters, std::uint32_t key0,
                                  std::uint32_t key1) {
  require(counters.ndim() == 2 && counters.shape(1) == 4, "philox", "expected counters (n, 4)");
  py::array_t<std::uint32_t> words({counters.shape(0), py::ssize_t(4)});
  table().philox(counters.data(), counters.shape(0), key0, key1, words.mutable_data());
  return words;
}

}  // namespace

void bind(py::module_& m) {
  m.def("walk", &walk, py::arg("polygons").none(true), py::arg("geometry"), py::arg("dirichlet"), py::arg("source"),
        py::arg("first_instance"), py::arg("first_walk"), py::arg("walks"), py::arg("max_steps"), py::arg("key"), py::arg("answers"),
        py::arg("num_threads"));
  m.def("philox", &philox, py::arg("counters"), py::arg("key0"), py::arg("key1"));
}

}  // namespace quatrefoil::wos::walk
