// Views -> args, the polygons' grids, and the GIL released around the kernels. Computes nothing.
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "core/dispatch.hpp"
#include "core/isa.hpp"
#include "core/parallel.hpp"
#include "py/caster.hpp"
#include "wos/args.hpp"

QF_TABLE(wos)

namespace quatrefoil {
namespace {

template <class T>
const wos::Kernels<T>& kernels();
template <>
const wos::Kernels<float>& kernels() { return wos::table().f32; }
template <>
const wos::Kernels<double>& kernels() { return wos::table().f64; }

template <class T>
struct OwnedGrid : wos::Grid<T> {
  OwnedGrid() = default;
  OwnedGrid(const OwnedGrid&) = delete;
  OwnedGrid& operator=(const OwnedGrid&) = delete;
  ~OwnedGrid() {
    release(this->records);
    release(this->cells);
    release(this->lists);
  }
};

constexpr int kMaxLevel = 10;            // 2^20 cells
constexpr std::int64_t kMaxSegments = 1 << 24;  // what a float32 counts exactly
constexpr std::size_t kKeptGrids = 64;   // of the last calls; more are built anew in every call

// The segments of B polygons in scaled coordinates, with the grids that were asked for.
class Polygons {
 public:
  Polygons(py::handle ends_, py::handle first_) {
    const Input ends(ends_, "ends"), first(first_, "first");
    require(ends.rank == 2 && ends.dim(1) == 4 && ends.dtype == Dtype::f64, "Polygons", "expected ends (M, 4) of float64");
    require(first.rank == 1 && first.size() >= 1 && first.dtype == Dtype::i64, "Polygons", "expected first (B + 1,) of int64");
    segments_.assign(ends.as<double>(), ends.as<double>() + ends.size());
    first_segment_.assign(first.as<std::int64_t>(), first.as<std::int64_t>() + first.size());
    for (std::size_t b = 0; b + 1 < first_segment_.size(); ++b) {
      const std::int64_t M = first_segment_[b + 1] - first_segment_[b];
      require(M > 0 && M < kMaxSegments, "Polygons", "expected between 1 and 2^24 segments a polygon");
    }
    require(first_segment_.front() == 0 && first_segment_.back() == ends.dim(2), "Polygons", "first does not fit ends");
  }

  std::int64_t count() const { return std::int64_t(first_segment_.size()) - 1; }
  const std::int64_t* first_segment() const { return first_segment_.data(); }
  wos::Segments segments(std::int64_t b) const { return {segments_.data() + 4 * first_segment_[b], first_segment_[b + 1] - first_segment_[b]}; }

  // Grids of instances [begin, end). Without the GIL.
  template <class T>
  std::vector<std::shared_ptr<OwnedGrid<T>>> grids(std::int64_t begin, std::int64_t end, const std::int64_t* levels, int threads) {
    std::vector<std::shared_ptr<OwnedGrid<T>>> found(std::size_t(end - begin));
    std::lock_guard<std::mutex> lock(mutex_);
    auto& kept = this->kept<T>();
    std::vector<std::int64_t> missing;
    for (std::int64_t b = begin; b < end; ++b) {
      const auto here = kept.find({b, levels[b - begin]});
      if (here != kept.end())
        found[std::size_t(b - begin)] = here->second;
      else
        missing.push_back(b);
    }
    constexpr double build_ns = 2e6;  // 1024 segments on a grid of 512^2
    parallel_for(std::int64_t(missing.size()), threads, build_ns, [&](std::int64_t from, std::int64_t to) {
      for (std::int64_t i = from; i < to; ++i) {
        const std::int64_t b = missing[std::size_t(i)];
        auto grid = std::make_shared<OwnedGrid<T>>();
        kernels<T>().build_grid(segments(b), int(levels[b - begin]), *grid);
        found[std::size_t(b - begin)] = std::move(grid);
      }
    });
    if (kept.size() + missing.size() > kKeptGrids) kept.clear();
    if (missing.size() <= kKeptGrids)
      for (std::int64_t b : missing) kept[{b, levels[b - begin]}] = found[std::size_t(b - begin)];
    return found;
  }

 private:
  template <class T>
  using Kept = std::map<std::pair<std::int64_t, std::int64_t>, std::shared_ptr<OwnedGrid<T>>>;
  template <class T>
  Kept<T>& kept() {
    if constexpr (sizeof(T) == 4)
      return kept_f32_;
    else
      return kept_f64_;
  }
  std::vector<double> segments_;
  std::vector<std::int64_t> first_segment_;
  std::mutex mutex_;
  Kept<float> kept_f32_;
  Kept<double> kept_f64_;
};

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
    data.kind = wos::DataKind(t[0].cast<int>());
    data.width = t[2].cast<std::int64_t>();
    data.stride = t[3].cast<std::int64_t>();
    data.numbers = numbers_.as<double>();
    require(!numbers_ || numbers_.dtype == Dtype::f64, "solve", "data must be float64");
    const std::int64_t have = numbers_ ? numbers_.size() : 0;
    require(data.width >= 0 && data.stride >= 0, "solve", "data sizes");
    switch (data.kind) {
      case wos::DataKind::none: break;
      case wos::DataKind::number: require(data.width == 1, "solve", "data sizes"); break;
      case wos::DataKind::fourier: require(data.width >= 3 && dimension == 2, "solve", "data sizes"); break;
      case wos::DataKind::gaussians: break;
      case wos::DataKind::per_vertex: require(have >= 2 * pairs, "solve", "one pair of values a segment"); break;
      case wos::DataKind::callback:
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
  wos::Data data;

 private:
  Input numbers_;
  py::object owner_;
};

constexpr std::uint32_t kKeyMask = 0xffffffffu;

void walk(Polygons* polygons, py::handle start_, py::handle live_, py::handle epsilon_, py::handle centre_, py::handle extent_, py::handle levels_,
          const py::tuple& dirichlet_, const py::tuple& source_, std::int64_t first_instance, std::int64_t first_walk, std::int64_t walks,
          std::int64_t max_steps, std::uint64_t key, py::handle mean_, py::handle m2_, py::handle total_steps_, py::handle truncated_,
          py::handle escaped_, py::handle ends_, py::handle primitives_, int threads) {
  constexpr const char* name = "solve";
  const Input start(start_, "start"), live(live_, "live"), epsilon(epsilon_, "epsilon"), centre(centre_, "centre"), extent(extent_, "extent"),
      levels(levels_, "levels");
  const Output mean(mean_, "mean"), m2(m2_, "m2"), total(total_steps_, "total_steps"), truncated(truncated_, "truncated"), escaped(escaped_, "escaped"),
      ends(ends_, "ends"), primitives(primitives_, "primitives");
  require(start.rank == 3 && walks >= 0 && first_walk >= 0 && first_instance >= 0, name, "shapes");
  const std::int64_t B = start.dim(3), N = start.dim(2), rows = B * N;
  const int dimension = int(start.dim(1));
  require(dimension == 2 || (!polygons && dimension == 3), name, "dimension");
  require(live.size() == rows && live.dtype == Dtype::b8 && epsilon.size() == B && extent.size() == B && centre.size() == B * dimension &&
              levels.size() == B && epsilon.dtype == Dtype::f64 && extent.dtype == Dtype::f64 && centre.dtype == Dtype::f64 && levels.dtype == Dtype::i64,
          name, "shapes or dtypes of the geometry");
  const bool shared = polygons && polygons->count() == 1;  // one polygon serves every instance
  require(!polygons || shared || first_instance + B <= polygons->count(), name, "instances");
  for (std::int64_t b = 0; b < B; ++b) require(levels.as<std::int64_t>()[b] >= 0 && levels.as<std::int64_t>()[b] <= kMaxLevel, name, "levels");
  require(mean.rank == 2 && mean.dim(2) == rows && m2.size() == mean.size() && mean.dtype == Dtype::f64 && m2.dtype == Dtype::f64, name, "nodes");
  std::int64_t nodes = 0;
  for (std::int64_t at = first_walk; at < first_walk + walks; ++nodes) {
    std::int64_t size = 1;
    while (at % (2 * size) == 0 && at + 2 * size <= first_walk + walks) size *= 2;
    at += size;
  }
  require(mean.dim(1) == nodes, name, "nodes");
  for (const Output* counts : {&total, &truncated, &escaped}) require(counts->size() == rows && counts->dtype == Dtype::i64, name, "counts");
  require(!ends || (ends.size() == rows * walks * (dimension + 1) && ends.dtype == Dtype::f64), name, "ends");
  require(!primitives || (primitives.size() == rows * walks && primitives.dtype == Dtype::i64), name, "primitives");
  const std::int64_t last_pair_from = shared && B > 0 ? (first_instance + B - 1) * dirichlet_[3].cast<std::int64_t>() : 0;
  const std::int64_t pairs = !polygons ? 0 : polygons->first_segment()[shared ? 1 : first_instance + B] + last_pair_from;
  const DataOf dirichlet(dirichlet_, first_instance + B, pairs, dimension), source(source_, first_instance + B, 0, dimension);
  require(source.data.kind != wos::DataKind::per_vertex && (polygons || dirichlet.data.kind != wos::DataKind::per_vertex), name, "values at vertices need a polygon");
  std::vector<std::int64_t> first_pair;
  for (std::int64_t b = first_instance; polygons && b < first_instance + B; ++b)
    first_pair.push_back(shared ? b * dirichlet.data.stride : polygons->first_segment()[b]);
  std::unique_ptr<double[]> values(new double[std::size_t(rows * walks)]);
  std::unique_ptr<std::uint32_t[]> steps(new std::uint32_t[std::size_t(rows * walks)]);

  dispatch_real(start.dtype, name, [&](auto zero) {
    using T = decltype(zero);
    wos::Walk<T> p{};
    p.start = start.as<T>();
    p.live = static_cast<const std::uint8_t*>(live.as<std::uint8_t>());
    p.epsilon = epsilon.as<double>(), p.centre = centre.as<double>(), p.extent = extent.as<double>();
    p.values = values.get(), p.steps = steps.get();
    p.ends = ends.as<double>(), p.primitives = primitives.as<std::int64_t>();
    p.B = B, p.N = N, p.walks = walks, p.first_walk = first_walk, p.first_instance = first_instance, p.max_steps = max_steps;
    p.key0 = std::uint32_t(key & kKeyMask), p.key1 = std::uint32_t(key >> 32);
    p.dirichlet = dirichlet.data, p.source = source.data;
    for (wos::Data* data : {&p.dirichlet, &p.source})
      if (data->numbers && data->kind != wos::DataKind::per_vertex) data->numbers += first_instance * data->stride;
    p.dimension = dimension, p.threads = threads;
    const wos::Reduce r{values.get(),     steps.get(),      p.live,
                        rows,             walks,            first_walk,
                        nodes,            mean.as<double>(), m2.as<double>(),
                        total.as<std::int64_t>(), truncated.as<std::int64_t>(), escaped.as<std::int64_t>(),
                        threads};
    py::gil_scoped_release released;
    std::vector<std::shared_ptr<OwnedGrid<T>>> owned;
    std::vector<wos::Grid<T>> grids;
    if (polygons) {
      owned = polygons->grids<T>(shared ? 0 : first_instance, shared ? (B > 0) : first_instance + B, levels.as<std::int64_t>(), threads);
      for (std::int64_t b = 0; b < B; ++b) grids.push_back(*owned[std::size_t(shared ? 0 : b)]);
      p.grids = grids.data();
      p.first_segment = first_pair.data();
    }
    kernels<T>().walk(p);
    wos::table().reduce(r);
  });
}

void locate(const Polygons& polygons, std::int64_t instance, py::handle points_, py::handle inside_, py::handle distance_, py::handle closest_,
            py::handle place_, py::handle primitive_, int threads) {
  const Input points(points_, "points");
  const Output inside(inside_, "inside"), distance(distance_, "distance"), closest(closest_, "closest"), place(place_, "place"),
      primitive(primitive_, "primitive");
  const std::int64_t N = points.dim(2);
  require(instance >= 0 && instance < polygons.count() && points.rank == 2 && points.dim(1) == 2 && points.dtype == Dtype::f64, "locate", "points");
  require(inside.size() == N && inside.dtype == Dtype::b8, "locate", "inside");
  require(bool(distance) == bool(closest), "locate", "distance and closest go together");
  for (const auto& [out, n] : {std::pair{&distance, N}, {&closest, 2 * N}, {&place, N}})
    require(!*out || (out->size() == n && out->dtype == Dtype::f64), "locate", "outputs");
  require(!primitive || (primitive.size() == N && primitive.dtype == Dtype::i64), "locate", "outputs");
  const wos::Locate p{polygons.segments(instance), points.as<double>(),   N, inside.as<std::uint8_t>(), distance.as<double>(),
                      closest.as<double>(),        place.as<double>(), primitive.as<std::int64_t>(), threads};
  py::gil_scoped_release released;
  wos::table().locate(p);
}

void bounds(Polygons& polygons, std::int64_t instance, std::int64_t level, py::handle points_, py::handle radius_, py::handle primitive_) {
  const Input points(points_, "points");
  const Output radius(radius_, "radius"), primitive(primitive_, "primitive");
  const std::int64_t N = points.dim(2);
  require(instance >= 0 && instance < polygons.count() && level >= 0 && level <= kMaxLevel, "bounds", "instance or level");
  require(points.rank == 2 && points.dim(1) == 2 && radius.size() == N && radius.dtype == points.dtype && primitive.size() == N &&
              primitive.dtype == Dtype::i64,
          "bounds", "shapes");
  dispatch_real(points.dtype, "bounds", [&](auto zero) {
    using T = decltype(zero);
    py::gil_scoped_release released;
    const auto grids = polygons.grids<T>(instance, instance + 1, &level, 1);
    kernels<T>().bounds(*grids[0], points.as<T>(), N, radius.as<T>(), primitive.as<std::int64_t>());
  });
}

py::array_t<std::uint32_t> philox(const py::array_t<std::uint32_t, py::array::c_style | py::array::forcecast>& counters, std::uint32_t key0,
                                  std::uint32_t key1) {
  require(counters.ndim() == 2 && counters.shape(1) == 4, "philox", "expected counters (n, 4)");
  py::array_t<std::uint32_t> words({counters.shape(0), py::ssize_t(4)});
  wos::table().philox(counters.data(), counters.shape(0), key0, key1, words.mutable_data());
  return words;
}

}  // namespace

void register_wos(py::module_& m) {
  py::class_<Polygons>(m, "Polygons").def(py::init<py::handle, py::handle>(), py::arg("ends"), py::arg("first"));
  m.def("walk", &walk, py::arg("polygons").none(true), py::arg("start"), py::arg("live"), py::arg("epsilon"), py::arg("centre"), py::arg("extent"),
        py::arg("levels"), py::arg("dirichlet"), py::arg("source"), py::arg("first_instance"), py::arg("first_walk"), py::arg("walks"),
        py::arg("max_steps"), py::arg("key"), py::arg("mean"), py::arg("m2"), py::arg("total_steps"), py::arg("truncated"), py::arg("escaped"),
        py::arg("ends"), py::arg("primitives"), py::arg("num_threads"));
  m.def("locate", &locate, py::arg("polygons"), py::arg("instance"), py::arg("points"), py::arg("inside"), py::arg("distance"), py::arg("closest"),
        py::arg("place"), py::arg("primitive"), py::arg("num_threads"));
  m.def("bounds", &bounds, py::arg("polygons"), py::arg("instance"), py::arg("level"), py::arg("points"), py::arg("radius"), py::arg("primitive"));
  m.def("philox", &philox, py::arg("counters"), py::arg("key0"), py::arg("key1"));
}

}  // namespace quatrefoil
