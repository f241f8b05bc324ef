// Walks, the sums over them and their gradients on a GPU: README (1) to (8). The values of walks are stored, then merged in the order of
// their nodes. Gradients are partial sums, one per thread. The order of sums depends on sizes alone, not on scheduling or the GPU model.
#include "wos/walk/cuda.hpp"
#include "wos/walk/cuda_nodes.hpp"
#include "wos/walk/cuda_wide.hpp"

namespace quatrefoil::wos::walk {
inline namespace QF_ISA {

// Estimated, not measured. Constants, so that the bits do not depend on the GPU model.
constexpr int64_t kRoundSamples = kEmulated ? kWarp : 1 << 20;  // samples per row and round, a power of kWarp
constexpr int64_t kRound = kEmulated ? 64 : 1 << 22;            // approximate number of walk values in memory at a time
constexpr int64_t kSums = kEmulated ? 1 << 11 : 1 << 24;        // partial sums per gradient, 128 MB
constexpr int64_t kWalkers = 1 << 18;                           // concurrent threads in the forward kernels
constexpr int64_t kAdjointWalkers = 1 << 17;
constexpr int64_t kMinWalks = 4;           // minimum walks per thread in the adjoint
constexpr int64_t kWideNumbers = 1 << 24;  // vector elements of concurrent walks in more than three dimensions
constexpr int64_t kMarks = 32;             // marks that a lane adds up

// ------------------------------------------------------------ values

// Walks [walk, walk + walks) of rows [row, row + rows). A row is a point of an instance, instance by instance. Slot k is in row k / walks.
struct Round {
  int64_t row, rows, walk, walks;
  QF_HD int64_t slots() const { return rows * walks; }
};

// Runs slots first, first + step, ... of a round with one walker; begin(side, point, walk) starts a walk.
template <class Walker, class Sink, class Begin>
__device__ __forceinline__ void walk_slots(const Walks& p, const Round& r, int64_t first, int64_t step, Walker& walker, Sink& sink,
                                           const Begin& begin) {
  const int64_t total = r.slots();
  for (int64_t slot = first;;) {
    for (; !walker.busy() && slot < total; slot += step) {
      const int64_t row = r.row + quotient(slot, r.walks), side = quotient(row, p.N);
      begin(side, remainder(row, p.N), r.walk + remainder(slot, r.walks));
      walker.busy() ? sink.begin(side, slot) : sink.none(slot);
    }
    if (!walker.busy()) return;
    walker.advance(sink);
  }
}

// Reads the boundary and the data; writes 12 bytes per walk.
template <class T, class Domain>
__global__ void __launch_bounds__(kThreads, 1) walk_round(const Walk<T> p, const Records<T> records, const Round r, const Results to) {
  Walker<T, Domain> walker(p);
  Values<T, Domain::D> sink(p, to);
  walk_slots(p, r, thread_here(), threads_here(), walker, sink,
             [&](int64_t side, int64_t point, int64_t walk) { walker.begin(records, side, point, walk); });
}

// walk_round in more than three dimensions. Each step reads and writes the columns of a walk.
__global__ void __launch_bounds__(kThreads, 1)
    wide_round(const Walk<double> p, const Round r, const int64_t walkers, double* workspace, const Results to) {
  QF_ROLLED
  for (int64_t thread = thread_here(); thread < walkers; thread += threads_here()) {
    WideWalker<Column> walker = wide_walker(p, workspace, walkers, thread);
    WideValues sink(p, walker, to);
    walk_slots(p, r, thread, walkers, walker, sink,
               [&](int64_t side, int64_t point, int64_t walk) { begin(walker, p, side, point, walk); });
  }
}
int64_t wide_walkers(const Walk<double>& p, int64_t wanted) {
  return max<int64_t>(1, min(wanted, kWideNumbers / (kWideColumns * p.dimension)));
}

// Adds the steps and marks of a round's walks to the counts of their rows. A warp handles kMarks * kWarp walks of a row.
__global__ void __launch_bounds__(kThreads, 1) count_marks(const Walk<double> p, const Round r, const uint32_t* marks) {
  constexpr int64_t together = kMarks * kWarp;
  const int64_t cuts = (r.walks + together - 1) / together;
  const int lane = threadIdx.x % kWarp;
  QF_ROLLED
  for (int64_t at = thread_here() / kWarp; at < r.rows * cuts; at += threads_here() / kWarp) {
    const int64_t row = at / cuts, first = at % cuts * together, last = min(first + together, r.walks);
    int64_t sums[3] = {};
    for (int64_t w = first + lane; w < last; w += kWarp) add_mark(marks[row * r.walks + w], sums);
    for (int j = 0; j < 3; ++j) {
      sums[j] = sum_of_lanes(sums[j]);
      if (lane == 0) atomicAdd(reinterpret_cast<unsigned long long*>(p.counts + 3 * (r.row + row) + j), (unsigned long long)(sums[j]));
    }
  }
}

// ------------------------------------------------------------ domains

// Calls f(a null pointer to the domain's type, the records of the boundary).
template <class T, class F>
void with_domain(const Walk<T>& p, const F& f) {
  const BoundaryArrays& boundary = p.boundary;
  const bool is_polygon = boundary.ends && !boundary.solid && p.dimension == 2,
             is_mesh = boundary.ends && !boundary.solid && p.dimension == 3;
  const Workspace<polygon::Record<T>> segments(is_polygon ? boundary.count : 0);
  const Workspace<T> triangles(is_mesh ? boundary.count * mesh::kRecord : 0);
  if (is_polygon) launch(polygon::put_records<T>, blocks_of(boundary.count), kThreads, 0, boundary.ends, boundary.count, segments);
  if (is_mesh) launch(mesh::put_records<T>, blocks_of(boundary.count), kThreads, 0, boundary.ends, boundary.count, triangles);
  const Workspace<T> boxes(is_polygon ? polygon::box_numbers<2>(boundary.count) : is_mesh ? polygon::box_numbers<3>(boundary.count) : 0);
  if (is_polygon) polygon::put_all_boxes<T, 2>(boundary.ends, boundary.count, boxes);
  if (is_mesh) polygon::put_all_boxes<T, 3>(boundary.ends, boundary.count, boxes);
  const Records<T> records{segments, triangles, boxes};
  if (p.dimension > 3) return;
  if (p.outside)
    f(static_cast<solid::Outside<T>*>(nullptr), records);
  else if (is_polygon)
    f(static_cast<polygon::Polygon<T>*>(nullptr), records);
  else if (is_mesh)
    f(static_cast<mesh::Mesh<T>*>(nullptr), records);
  else if (boundary.solid)
    p.dimension == 2 ? f(static_cast<solid::Inside<T, 2>*>(nullptr), records) : f(static_cast<solid::Inside<T, 3>*>(nullptr), records);
  else
    p.dimension == 2 ? f(static_cast<solid::Ball<T, 2>*>(nullptr), records) : f(static_cast<solid::Ball<T, 3>*>(nullptr), records);
}

template <class T>
void run_round(const Walk<T>& p, const Walk<double>& doubled, const Round& r, const Results& to) {
  if (p.sides() * p.N >= kTooMany) throw DeviceError("wos.solve: 2^31 or more points are too many for a GPU kernel");
  if (p.dimension > 3) {
    const int64_t walkers = wide_walkers(doubled, min(kWalkers, r.slots()));
    const Workspace<double> workspace(kWideColumns * p.dimension * walkers);
    launch(wide_round, blocks_of(walkers), kThreads, 0, doubled, r, walkers, workspace, to);
  }
  with_domain(p, [&](auto domain, const Records<T>& records) {
    using Domain = typename std::remove_pointer<decltype(domain)>::type;
    launch(walk_round<T, Domain>, blocks_of(min(kWalkers, r.slots())), kThreads, 0, p, records, r, to);
  });
  launch(count_marks, blocks_of(r.rows * ((r.walks - 1) / (kMarks * kWarp) + 1) * kWarp), kThreads, 0, doubled, r, to.marks);
}

template <class T>
void walk(const Walk<T>& p) {
  const int64_t rows = p.sides() * p.N, group = p.group(), channels = p.channels();
  set_zero(p.counts, 3 * rows);
  if (rows == 0) return;
  const Doubled<T> doubled(p);
  const Samples all{p.first_walk / group, (p.first_walk + p.walks) / group};
  const int64_t rounds = (all.end - 1) / kRoundSamples - all.first / kRoundSamples + 1, longest = min(all.end - all.first, kRoundSamples);
  int64_t top = kWarp;  // samples per unit at the end of a round
  while (top < (rounds > 1 ? kRoundSamples : longest)) top *= kWarp;
  const int64_t together = min(rows, max<int64_t>(1, kRound / (longest * group * channels)));
  const Workspace<double> values(together * longest * group * channels);
  const Workspace<uint32_t> marks(together * longest * group);
  const UnitsMemory upper(rounds > 1 ? rows * channels : 0, all.first, all.end, top);
  for (int64_t begin = all.first; begin < all.end;) {
    const int64_t end = min(all.end, (begin / kRoundSamples + 1) * kRoundSamples);
    for (int64_t row = 0; row < rows; row += together) {
      const Round r{row, min(together, rows - row), begin * group, (end - begin) * group};
      run_round(p, *doubled, r, {values, marks, r.slots()});
      Units last = upper.units();
      last.mean += row * channels * last.count(), last.m2 += row * channels * last.count();
      merge_up(*doubled, all, row, r.rows, Units{begin, end, 1, nullptr, nullptr}, last, values);
    }
    begin = end;
  }
  if (rounds == 1) return;
  int64_t size = top * kWarp;
  while (size < all.end - all.first) size *= kWarp;
  merge_up(*doubled, all, 0, rows, upper.units(), Units{all.first, all.end, size, nullptr, nullptr}, nullptr);
}

// ------------------------------------------------------------ gradients

// Partial sums of one gradient: one row per parameter, one column for each thread that may add to it.
struct Sums {
  double* numbers = nullptr;  // null if the gradient is not requested
  int64_t rows = 0, columns = 0;
  bool own = false;  // every instance has its own parameters, instance by instance

  __device__ data::Column column(int64_t begin, int64_t instance, int64_t parts, int64_t part) const {
    if (!numbers) return {};
    return {numbers + (own ? begin * columns + part : instance * parts + part), columns};
  }
};

// Adds a walk's share of its node's gradient, grad / size: README (7), (8).
template <class T, int D>
class Shares {
 public:
  const bool wants_sources;

  __device__ Shares(const WalkAdjoint<T>& q, const Sums& of_dirichlet, const Sums& of_source)
      : wants_sources(of_source.numbers != nullptr), q_(q), has_boundary_(of_dirichlet.numbers != nullptr) {}

  __device__ void set(int64_t instance, const data::Column& to_dirichlet, const data::Column& to_source) {
    const Walk<T>& p = q_.forward;
    instance_ = instance;
    to_boundary_ = to_dirichlet, to_source_ = to_source;
    boundary_ = field_of<D>(p, p.dirichlet, instance);
    if (wants_sources) source_ = field_of<D>(p, p.source, instance);
  }
  __device__ void begin(int64_t point, int64_t walk) {
    double walks;
    const double* const grad = grad_of(q_, instance_, point, walk, walks);
    share_ = grad[0] / walks, first_share_ = 0;
    for (int i = 0; i < D; ++i) of_gradient_[i] = q_.forward.gradient ? T(grad[1 + i] / walks) : T(0);
  }
  __device__ void enter(const First<T, D>& at) {
    const T value = T(share_);
    T after = value * at.along, here = value * at.source;
    for (int i = 0; i < D; ++i) {
      const T g = of_gradient_[i] * T(1 / boundary_.frame[D]);
      after += g * at.outward[i];
      here += g * at.toward[i];
    }
    share_ = double(after), first_share_ = here;
  }
  __device__ void meet(const Met<T, D>& met) {
    if (met.ends && (!has_boundary_ || !(met.weight > 0))) return;
    data::Field<T, D> field = source_;
    data::Column to = to_source_;
    const T area = T(boundary_.frame[D] * boundary_.frame[D]);
    double share = double(met.weight * (met.in_first ? first_share_ : T(share_)) * area);
    if (met.ends) field = boundary_, to = to_boundary_, share = share_ * double(met.weight);
    if (field.kind == data::Kind::per_vertex)
      data::add_share_on_primitive<T, D>(met.primitive, met.where, share, to);
    else
      data::add_share(field, met.x, share, to);
  }

 private:
  const WalkAdjoint<T>& q_;
  const bool has_boundary_;
  int64_t instance_ = 0;
  data::Column to_boundary_{}, to_source_{};
  data::Field<T, D> boundary_, source_;
  double share_ = 0;
  T first_share_ = 0, of_gradient_[D];
};

// Steps through every `parts`-th walk of an instance without divisions: a 64-bit division takes a GPU a hundred instructions.
struct WalkCursor {
  int64_t point, walk, next_points, next_walks, walks;
  __device__ WalkCursor(int64_t part, int64_t parts, int64_t walks)
      : point(quotient(part, walks)),
        walk(remainder(part, walks)),
        next_points(quotient(parts, walks)),
        next_walks(remainder(parts, walks)),
        walks(walks) {}
  __device__ void next() {
    point += next_points, walk += next_walks;
    if (walk >= walks) walk -= walks, ++point;
  }
};

// Runs part `part` of an instance's walks with one walker; begin(point, walk) starts a walk.
template <class Walker, class Sink, class Begin>
__device__ __forceinline__ void walk_part(const Walks& p, int64_t part, int64_t parts, Walker& walker, Sink& sink, const Begin& begin) {
  for (WalkCursor cursor(part, parts, p.walks);;) {
    for (; !walker.busy() && cursor.point < p.N; cursor.next()) {
      begin(cursor.point, p.first_walk + cursor.walk);
      if (walker.busy()) sink.begin(cursor.point, p.first_walk + cursor.walk);
    }
    if (!walker.busy()) return;
    walker.advance(sink);
  }
}

// Replays walks of instances [begin, begin + instances), with `parts` parts per instance and one thread per part. Reads and writes a column
// of the sums for each end and source point.
template <class T, class Domain>
__global__ void __launch_bounds__(kThreads, 1)
    walk_again(const WalkAdjoint<T> q, const Records<T> records, const int64_t begin, const int64_t instances, const int64_t parts,
               const Sums of_dirichlet, const Sums of_source) {
  constexpr int D = Domain::D;
  const Walk<T>& p = q.forward;
  QF_ROLLED
  for (int64_t at = thread_here(); at < instances * parts; at += threads_here()) {
    const int64_t index = quotient(at, parts), instance = begin + index, part = remainder(at, parts);
    Walker<T, Domain> walker(p);
    Shares<T, D> sink(q, of_dirichlet, of_source);
    const auto column = [&](const data::Data& data, const Sums& sums) {
      return sums.column(field_of<D>(p, data, instance).numbers - data.numbers, index, parts, part);
    };
    sink.set(instance, column(p.dirichlet, of_dirichlet), column(p.source, of_source));
    walk_part(p, part, parts, walker, sink, [&](int64_t point, int64_t walk) { walker.begin(records, instance, point, walk); });
  }
}

__global__ void __launch_bounds__(kThreads, 1)
    wide_again(const WalkAdjoint<double> q, double* workspace, const int64_t first, const int64_t instances, const int64_t parts,
               const Sums of_dirichlet, const Sums of_source) {
  const Walk<double>& p = q.forward;
  const int64_t walkers = instances * parts;
  QF_ROLLED
  for (int64_t at = thread_here(); at < walkers; at += threads_here()) {
    const int64_t index = quotient(at, parts), instance = first + index, part = remainder(at, parts);
    WideWalker<Column> walker = wide_walker(p, workspace, walkers, at);
    WideShares sink(q, walker, instance, of_dirichlet.column(instance * p.dirichlet.stride, index, parts, part),
                    of_source.column(instance * p.source.stride, index, parts, part));
    walk_part(p, part, parts, walker, sink, [&](int64_t point, int64_t walk) { begin(walker, p, instance, point, walk); });
  }
}

// One warp per row: adds the row's columns to the gradient in a fixed order.
__global__ void __launch_bounds__(kThreads, 1) add_columns(const Sums sums, double* to) {
  const int lane = threadIdx.x % kWarp;
  QF_ROLLED
  for (int64_t row = thread_here() / kWarp; row < sums.rows; row += threads_here() / kWarp) {
    double sum = 0;
    for (int64_t c = lane; c < sums.columns; c += kWarp) sum += sums.numbers[row * sums.columns + c];
    for (int by = 1; by < kWarp; by *= 2) sum += shuffle_xor(sum, by);
    if (lane == 0) to[row] += sum;
  }
}

// The number of parameters, and whether each instance has its own.
template <class T>
Sums sums_of(const Walk<T>& p, const data::Data& data, bool wanted) {
  const bool per_polygon = data.kind == data::Kind::per_vertex && p.boundary.polygons > 1;
  Sums sums;
  sums.own = p.sides() == 1 || per_polygon || data.stride > 0;
  sums.rows = wanted ? (data.stride > 0 ? p.sides() * data.stride : data.width) : 0;
  return sums;
}

template <class T>
void walk_adjoint(const WalkAdjoint<T>& q) {
  const Walk<T>& p = q.forward;
  Sums of_dirichlet = sums_of(p, p.dirichlet, q.ddirichlet), of_source = sums_of(p, p.source, q.dsource);
  set_zero(q.ddirichlet, of_dirichlet.rows);
  set_zero(q.dsource, of_source.rows);
  const int64_t total = p.N * p.walks, shared = (of_dirichlet.own ? 0 : of_dirichlet.rows) + (of_source.own ? 0 : of_source.rows);
  if (p.sides() * total == 0 || (!q.ddirichlet && !q.dsource)) return;
  if (p.walks >= kTooMany || p.sides() >= kTooMany)
    throw DeviceError("wos.solve_vjp: 2^31 or more walks per point, or instances, are too many for a GPU kernel");
  const int64_t instances = shared ? min(p.sides(), max<int64_t>(1, kSums / (shared * 8))) : p.sides();  // instances processed together
  const int64_t own = (of_dirichlet.own ? of_dirichlet.rows : 0) + (of_source.own ? of_source.rows : 0);
  const int64_t numbers = max<int64_t>(1, own + shared * instances);
  const Doubled<T> doubled(p);
  const int64_t walkers = p.dimension > 3 ? wide_walkers(*doubled, kAdjointWalkers) : kAdjointWalkers;
  const int64_t parts = max<int64_t>(1, min(min(walkers / instances, total / kMinWalks), kSums / numbers));
  of_dirichlet.columns = of_dirichlet.own ? parts : parts * instances, of_source.columns = of_source.own ? parts : parts * instances;
  const Workspace<double> sums(of_dirichlet.rows * of_dirichlet.columns + of_source.rows * of_source.columns);
  if (q.ddirichlet) of_dirichlet.numbers = sums;
  if (q.dsource) of_source.numbers = sums + of_dirichlet.rows * of_dirichlet.columns;
  const bool is_wide = p.dimension > 3;
  const WalkAdjoint<double> wide{*doubled, q.grad, q.ddirichlet, q.dsource};
  const Workspace<double> workspace(is_wide ? kWideColumns * p.dimension * instances * parts : 0);
  for (int64_t begin = 0; begin < p.sides(); begin += instances) {
    const int64_t here = min(instances, p.sides() - begin), blocks = blocks_of(here * parts);
    set_zero<double>(sums, of_dirichlet.rows * of_dirichlet.columns + of_source.rows * of_source.columns);
    if (is_wide) launch(wide_again, blocks, kThreads, 0, wide, workspace, begin, here, parts, of_dirichlet, of_source);
    with_domain(p, [&](auto domain, const Records<T>& records) {
      using Domain = typename std::remove_pointer<decltype(domain)>::type;
      launch(walk_again<T, Domain>, blocks, kThreads, 0, q, records, begin, here, parts, of_dirichlet, of_source);
    });
    if (q.ddirichlet) launch(add_columns, blocks_of(of_dirichlet.rows * kWarp), kThreads, 0, of_dirichlet, q.ddirichlet);
    if (q.dsource) launch(add_columns, blocks_of(of_source.rows * kWarp), kThreads, 0, of_source, q.dsource);
  }
}

template <class T>
constexpr Kernels<T> kKernels = {walk<T>, walk_adjoint<T>, nullptr, nullptr, nullptr, nullptr};

extern const Table kernels;
const Table kernels = {{kKernels<float>, kKernels<double>}, nullptr};
extern const char* const ops;
const char* const ops = "walk walk_vjp";

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
