// Views -> args, the grids of a call's polygons, and the GIL released around the kernels. Computes nothing.
#include "wos/polygon/bind.hpp"

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/host/dispatch.hpp"
#include "core/host/isa.hpp"
#include "py/caster.hpp"
#include "wos/walk/args.hpp"

QF_TABLE(wos, walk)

namespace quatrefoil::wos::walk {
namespace {

using polygon::Polygons;

constexpr std::int64_t kInstances = 64;      // whose grids are in memory together
constexpr std::int64_t kMaxSteps = 1 << 20;  // what the counter of the random words holds
constexpr std::int64_t kMaxWalks = 1LL << 32;

// ------------------------------------------------------------ data

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

data::Kind kind_of(const std::string& name, const char* function) {
  using data::Kind;
  for (const auto& [text, kind] : {std::pair{"none", Kind::none},
                                   {"number", Kind::number},
                                   {"fourier", Kind::fourier},
                                   {"per_vertex", Kind::per_vertex},
                                   {"gaussians", Kind::gaussians},
                                   {"function", Kind::function}})
    if (name == text) return kind;
  throw ValueError(std::string(function) + ": unknown kind of data " + name);
}

// Boundary values or a source: numbers (1 or B, width), or a function.
struct DataOf {
  const Input numbers;
  data::Data data;
  std::vector<std::int64_t> offsets;

  DataOf(const char* function, const char* name, py::handle numbers_, const std::string& kind, py::handle call, const Polygons* polygons,
         std::int64_t B, int dimension)
      : numbers(numbers_, name) {
    using data::Kind;
    data.kind = kind_of(kind, function);
    const bool described = data.kind != Kind::none && data.kind != Kind::function;
    require(bool(numbers) == described, function, "numbers go with data that has some");
    if (data.kind == Kind::function) set_function(function, call);
    if (!described) return;
    require(numbers.rank == 2 && numbers.dtype == Dtype::f64 && (numbers.shape[0] == 1 || numbers.shape[0] == B), function,
            "data must be float64, of one row or a row an instance");
    data.numbers = numbers.as<double>();
    data.width = numbers.shape[1];
    data.stride = numbers.shape[0] > 1 ? data.width : 0;
    switch (data.kind) {
      case Kind::number: require(data.width == 1, function, "a number has one number"); break;
      case Kind::fourier: require(data.width >= 3 && dimension == 2, function, "Fourier data has a centre and a0, in the plane"); break;
      case Kind::gaussians: require(data.width % (dimension + 2) == 0, function, "a Gaussian has d + 2 numbers"); break;
      default: set_pairs(function, polygons); break;
    }
  }

 private:
  void set_function(const char* function, py::handle call) {
    require(!call.is_none(), function, "a function is missing");
    const py::object address = py::getattr(call, "address", py::none());
    data.callback = address.is_none() ? call_python : call_compiled;
    data.context = address.is_none() ? call.ptr() : reinterpret_cast<void*>(address.cast<std::uintptr_t>());
    require(data.context != nullptr, function, "a null function");
  }
  void set_pairs(const char* function, const Polygons* polygons) {
    require(polygons && data.width == 2 * polygons->total(), function, "values at vertices need a pair a segment of a polygon");
    if (polygons->count() == 1) return;
    require(numbers.shape[0] == 1, function, "the pairs of several polygons lie in one row");
    for (std::int64_t b = 0; b <= polygons->count(); ++b) offsets.push_back(2 * polygons->first(b));
    data.offsets = offsets.data();
  }
};

// The same for instances from `first` on.
data::Data from_instance(data::Data data, std::int64_t first) {
  if (data.offsets)
    data.offsets += first;
  else
    data.numbers += first * data.stride;
  return data;
}

// ------------------------------------------------------------ where walks run

// B instances of N points, and the boundary: one polygon for all, one each, or the unit ball.
struct Scene {
  const Input start, frame;
  std::unique_ptr<Polygons> own;  // where no memo was given
  Polygons* polygons = nullptr;
  std::int64_t B, N;
  int dimension;

  Scene(const char* function, py::handle start_, py::handle frame_, py::handle ends, py::handle first, py::handle memo)
      : start(start_, "start"), frame(frame_, "frame"), B(start.dim(3)), N(start.dim(2)), dimension(int(start.dim(1))) {
    require(start.rank == 3 && frame.rank == 2 && frame.dtype == Dtype::f64 && frame.shape[0] == B && frame.shape[1] == dimension + 2,
            function, "start or frame");
    require(ends.is_none() == first.is_none(), function, "ends and first go together");
    require(dimension == 2 || (dimension == 3 && ends.is_none()), function, "dimension");
    if (ends.is_none()) return;
    if (memo.is_none()) {
      own.reset(new Polygons(ends, first));
      polygons = own.get();
    } else {
      if (!py::isinstance<Polygons>(memo)) throw TypeError(std::string(function) + ": expected the grids of a Polygon, got something else");
      polygons = memo.cast<Polygons*>();
      const Input given(ends, "ends");
      require(given.rank == 2 && given.shape[0] == polygons->total(), function, "the grids are of other polygons");
    }
    require(polygons->count() == 1 || polygons->count() == B, function, "one polygon, or one an instance");
  }
  std::int64_t polygon(std::int64_t instance) const { return polygons->count() == 1 ? 0 : instance; }
  double epsilon(std::int64_t instance) const { return frame.as<double>()[instance * (dimension + 2) + dimension + 1]; }
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

struct Range {
  std::int64_t seed, first_walk, walks, max_steps;
  void check(const char* function) const {
    require(first_walk >= 0 && walks >= 1 && first_walk <= kMaxWalks - walks, function, "walks");
    require(max_steps >= 1 && max_steps < kMaxSteps, function, "max_steps");
  }
};

template <class T>
Walk<T> walk_args(const Scene& s, const Range& r, std::int64_t begin, std::int64_t end, const polygon::Grid<T>* grids,
                  const DataOf& dirichlet, const DataOf& source, int threads) {
  Walk<T> p{};
  p.grids = grids;
  p.start = s.start.as<T>() + begin * s.N * s.dimension;
  p.frame = s.frame.as<double>() + begin * (s.dimension + 2);
  p.dirichlet = from_instance(dirichlet.data, begin), p.source = from_instance(source.data, begin);
  p.B = end - begin, p.N = s.N, p.walks = r.walks, p.first_instance = begin, p.first_walk = r.first_walk, p.max_steps = r.max_steps;
  p.key0 = std::uint32_t(r.seed), p.key1 = std::uint32_t(std::uint64_t(r.seed) >> 32);
  p.dimension = s.dimension, p.threads = threads;
  return p;
}

void walk(py::handle start, py::handle frame, py::handle ends, py::handle first, py::handle dirichlet_, py::handle source_,
          py::handle mean_, py::handle m2_, py::handle counts_, const std::string& dirichlet_kind, const std::string& source_kind,
          std::int64_t seed, std::int64_t first_walk, std::int64_t walks, std::int64_t max_steps, py::handle grids_, py::handle g,
          py::handle f, int threads) {
  const char* const name = "walk";
  const Scene s(name, start, frame, ends, first, grids_);
  const Range range{seed, first_walk, walks, max_steps};
  range.check(name);
  const DataOf dirichlet(name, "dirichlet", dirichlet_, dirichlet_kind, g, s.polygons, s.B, s.dimension);
  const DataOf source(name, "source", source_, source_kind, f, s.polygons, s.B, s.dimension);
  require(source.data.kind != data::Kind::per_vertex && dirichlet.data.kind != data::Kind::none, name, "kinds of data");
  const Output mean(mean_, "mean"), m2(m2_, "m2"), counts(counts_, "counts");
  const std::int64_t nodes = node_count(first_walk, walks);
  require(mean.size() == s.B * s.N * nodes && m2.size() == mean.size() && mean.dtype == Dtype::f64 && m2.dtype == Dtype::f64, name,
          "nodes");
  require(counts.size() == 3 * s.B * s.N && counts.dtype == Dtype::i64, name, "counts");
  dispatch_real(s.start.dtype, name, [&](auto zero) {
    using T = decltype(zero);
    py::gil_scoped_release released;
    for (std::int64_t begin = 0; begin < s.B; begin += kInstances) {
      const std::int64_t end = std::min(s.B, begin + kInstances);
      const Grids<T> grids(s, begin, end, threads);
      Walk<T> p = walk_args<T>(s, range, begin, end, grids.data(), dirichlet, source, threads);
      p.mean = mean.as<double>() + begin * s.N * nodes, p.m2 = m2.as<double>() + begin * s.N * nodes;
      p.counts = counts.as<std::int64_t>() + 3 * begin * s.N;
      kernels<T>().walk(p);
    }
  });
}

void walk_vjp(py::handle start, py::handle frame, py::handle ends, py::handle first, py::handle dirichlet_, py::handle source_,
              py::handle grad_, py::handle, py::handle, py::handle, py::handle, py::handle ddirichlet_, py::handle dsource_,
              const std::string& dirichlet_kind, const std::string& source_kind, std::int64_t seed, std::int64_t first_walk,
              std::int64_t walks, std::int64_t max_steps, py::handle grids_, py::handle g, py::handle f, int threads) {
  const char* const name = "walk_vjp";
  const Scene s(name, start, frame, ends, first, grids_);
  const Range range{seed, first_walk, walks, max_steps};
  range.check(name);
  const DataOf dirichlet(name, "dirichlet", dirichlet_, dirichlet_kind, g, s.polygons, s.B, s.dimension);
  const DataOf source(name, "source", source_, source_kind, f, s.polygons, s.B, s.dimension);
  const Input grad(grad_, "grad_mean");
  const Output ddirichlet(ddirichlet_, "ddirichlet"), dsource(dsource_, "dsource");
  const std::int64_t nodes = node_count(first_walk, walks);
  require(grad.size() == s.B * s.N * nodes && grad.dtype == Dtype::f64, name, "grad");
  for (const auto& [d, of] : {std::pair<const Output*, const Input*>{&ddirichlet, &dirichlet.numbers}, {&dsource, &source.numbers}}) {
    require(!*d || (*of && d->size() == of->size() && d->dtype == Dtype::f64), name, "gradients do not fit");
    if (*d) std::fill_n(d->as<double>(), d->size(), 0.0);
  }
  dispatch_real(s.start.dtype, name, [&](auto zero) {
    using T = decltype(zero);
    py::gil_scoped_release released;
    for (std::int64_t begin = 0; begin < s.B; begin += kInstances) {
      const std::int64_t end = std::min(s.B, begin + kInstances);
      const Grids<T> grids(s, begin, end, threads);
      WalkAdjoint<T> q{};
      q.forward = walk_args<T>(s, range, begin, end, grids.data(), dirichlet, source, threads);
      q.grad = grad.as<double>() + begin * s.N * nodes;
      const auto at = [&](const Output& d, const data::Data& of) {
        return d ? d.as<double>() + (of.offsets ? 0 : begin * of.stride) : nullptr;
      };
      q.ddirichlet = at(ddirichlet, dirichlet.data), q.dsource = at(dsource, source.data);
      kernels<T>().walk_adjoint(q);
    }
  });
}

void place(py::handle points_, py::handle frame_, py::handle ends, py::handle first, py::handle start_, py::handle grids, int threads) {
  const char* const name = "solve";
  const Input points(points_, "points");
  const Output start(start_, "start");
  const Scene s(name, start_, frame_, ends, first, grids);
  require(start.dtype == points.dtype && points.rank >= 2 && points.rank <= 3 && points.dim(1) == s.dimension && points.dim(2) == s.N, name,
          "points do not fit");
  const bool shared = points.rank == 2;
  require(shared || points.shape[0] == s.B, name, "points do not fit");
  std::vector<polygon::Segments> segments;
  for (std::int64_t b = 0; s.polygons && b < s.B; ++b) segments.push_back(s.polygons->segments(s.polygon(b)));
  dispatch_real(points.dtype, name, [&](auto zero) {
    using T = decltype(zero);
    std::int64_t bad;
    {
      py::gil_scoped_release released;
      bad = kernels<T>().place({points.as<T>(), s.frame.as<double>(), segments.empty() ? nullptr : segments.data(), start.as<T>(), s.B, s.N,
                                shared, s.dimension, threads});
    }
    if (bad < 0) return;
    const std::int64_t d = s.dimension, row = bad / d;
    const std::string where = (shared ? "" : std::to_string(row / s.N) + ", ") + std::to_string(row % s.N) + ", " + std::to_string(bad % d);
    const T value = points.as<T>()[bad];
    throw ValueError(std::string(name) + ": points[" + where + "] is " +
                     (value != value ? "nan"
                      : value > 0    ? "inf"
                                     : "-inf") +
                     ", expected a finite number");
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
  m.def("walk", &walk);
  m.def("walk_vjp", &walk_vjp);
  m.def("place", &place);
  m.def("philox", &philox, py::arg("counters"), py::arg("key0"), py::arg("key1"));
}

}  // namespace quatrefoil::wos::walk
