// Queries of many points. Compiled once per instruction set.
#include "core/run/parallel.hpp"
#include "wos/mesh/locate.hpp"
#include "wos/polygon/locate.hpp"
#include "wos/query/args.hpp"
#include "wos/query/order.hpp"
#include "wos/solid/locate.hpp"

namespace quatrefoil::wos::query {
inline namespace QF_ISA {

constexpr double kTreeNs = 1000;       // per point of a mesh
constexpr double kSegmentNs = 1;       // per point and segment
constexpr int64_t kSorted = 1 << 16;   // points whose keys are in memory at a time: 1 MB
constexpr int64_t kRun = 256;          // points that one thread processes in curve order
constexpr int64_t kWorthSorting = 64;  // points

// One point's result, in scaled coordinates.
struct Result {
  double distance = 0, at[3] = {}, weights[3] = {};
  int64_t primitive = 0;
};

void nearest_on_polygon(const polygon::Segments& segments, const double (&x)[3], Result& result) {
  double t;
  result.distance = polygon::closest(segments, x[0], x[1], result.primitive, t);
  result.weights[0] = 1 - t, result.weights[1] = t;
  const double* const s = segments.ends + 4 * result.primitive;
  for (int j = 0; j < 2; ++j) result.at[j] = s[j] + t * (s[2 + j] - s[j]);
}

template <class T>
bool is_inside(const Query<T>& p, int64_t instance, const double (&x)[3]) {
  if (p.segments) return polygon::inside(p.segments[instance], x[0], x[1]);
  return p.closed ? mesh::inside_closed(*p.tree, x) : mesh::inside_open(*p.tree, x);
}

// Point i in scaled coordinates; false if it is not finite.
template <class T>
bool scaled(const Query<T>& p, int64_t i, double* x) {
  const int D = p.dimension;
  const double* const frame = p.frame + i / p.N * (D + 1);
  const T* const from = p.points + (p.shared ? i % p.N : i) * D;
  bool finite = true;
  for (int j = 0; j < D; ++j) {
    finite = finite && from[j] - from[j] == T(0);
    x[j] = (double(from[j]) - frame[j]) / frame[D];
  }
  return finite;
}

template <class T>
void write(const Query<T>& p, int64_t i, const Result& result) {
  const int D = p.dimension;
  const double* const frame = p.frame + i / p.N * (D + 1);
  p.distance[i] = T(result.distance * frame[D]);
  for (int j = 0; p.point && j < D; ++j) p.point[i * D + j] = T(frame[j] + frame[D] * result.at[j]);
  for (int j = 0; p.weights && j < D; ++j) p.weights[i * D + j] = T(result.weights[j]);
  if (p.primitive) p.primitive[i] = result.primitive;
}

template <class T>
void write_nothing(const Query<T>& p, int64_t i) {
  Result result;
  result.distance = __builtin_nan("");
  for (int j = 0; j < 3; ++j) result.at[j] = result.weights[j] = result.distance;
  result.primitive = -1;
  write(p, i, result);
}

template <class T>
void finish(const Query<T>& p, int64_t i, const double (&x)[3], Result& result) {
  if (p.sign && is_inside(p, i / p.N, x)) result.distance = -result.distance;
  write(p, i, result);
}

// Each search starts with the triangle closest to the previous point. Reads about twenty nodes and blocks of 1 kB per point.
template <class T>
void nearest_on_mesh(const Query<T>& p) {
  const int64_t size = min(kSorted, p.N);
  Scratch<std::uint64_t> keys(size), spare(size);
  for (int64_t first = 0; first < p.N; first += kSorted) {
    const int64_t n = min(kSorted, p.N - first);
    parallel_for(n, p.threads, 10, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        double x[3];
        keys[i] = std::uint64_t(i) | (scaled(p, first + i, x) ? position_on_curve(x) : 0) << 32;
      }
    });
    const std::uint64_t* const order = n < kWorthSorting ? keys : sort_by_position(keys, spare, n);
    parallel_for((n + kRun - 1) / kRun, p.threads, kRun * kTreeNs, [&](int64_t begin, int64_t end) {
      for (int64_t run = begin; run < end; ++run) {
        int64_t position = -1;
        InterruptCheck check;
        for (int64_t k = run * kRun; k < min(n, (run + 1) * kRun); ++k) {
          const int64_t i = first + int64_t(std::uint32_t(order[k]));
          double x[3];
          Result result;
          check(kTreeNs);
          if (!scaled(p, i, x)) {
            write_nothing(p, i);
            continue;
          }
          result.distance = mesh::closest(*p.tree, x, position, result.weights, result.at);
          result.primitive = p.tree->ids[position];
          finish(p, i, x, result);
        }
      }
    });
  }
}

// Queries points of a solid, in any dimension. Calls `put` with each point's index and result, or null if the point is not finite. `where`:
// also computes the closest point.
template <class T, class F>
void in_solid(const Query<T>& p, bool where, F&& put) {
  parallel_for(p.B * p.N, p.threads, 10 * double(p.dimension), [&](int64_t begin, int64_t end) {
    double x[solid::kMaxDimension], at[solid::kMaxDimension];
    for (int64_t i = begin; i < end; ++i) {
      const bool finite = scaled(p, i, x);
      solid::Nearest result{};
      if (finite && where) result = solid::nearest(p.solid, p.dimension, x, at);
      if (finite && !where) result.distance = solid::distance(p.solid, p.dimension, x, at);
      put(i, finite ? &result : nullptr, at);
    }
  });
}
template <class T>
void nearest_on_solid(const Query<T>& p) {
  const int64_t D = p.dimension;
  in_solid(p, p.point != nullptr, [&](int64_t i, const solid::Nearest* result, const double* at) {
    const double *const frame = p.frame + i / p.N * (D + 1), nan = __builtin_nan("");
    const double distance = result ? result->distance : nan;
    p.distance[i] = T((p.sign || distance > 0 ? distance : -distance) * frame[D]);
    for (int64_t j = 0; p.point && j < D; ++j) p.point[i * D + j] = result ? T(frame[j] + frame[D] * at[j]) : T(nan);
    if (p.primitive) p.primitive[i] = result ? result->face : -1;
  });
}

template <class T>
double sweep_ns(const Query<T>& p) {
  return 10 + (p.segments ? double(p.segments[0].M) * kSegmentNs : 0);
}

template <class T>
void nearest(const Query<T>& p) {
  if (p.B * p.N == 0) return;
  if (p.tree) return nearest_on_mesh(p);
  if (!p.segments) return nearest_on_solid(p);
  parallel_for(p.B * p.N, p.threads, sweep_ns(p), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      double x[3];
      Result result;
      if (!scaled(p, i, x)) {
        write_nothing(p, i);
        continue;
      }
      nearest_on_polygon(p.segments[i / p.N], x, result);
      finish(p, i, x, result);
    }
  });
}

// Writes 1 for points inside, and 0 for points outside or not finite.
template <class T>
void inside(const Query<T>& p) {
  if (p.B * p.N == 0) return;
  if (!p.tree && !p.segments)
    return in_solid(p, false,
                    [&](int64_t i, const solid::Nearest* result, const double*) { p.contains[i] = result && result->distance < 0; });
  const double ns = !p.tree ? sweep_ns(p) : p.closed ? kTreeNs : mesh::kWindingNs;
  parallel_for(p.B * p.N, p.threads, ns, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      double x[3];
      p.contains[i] = scaled(p, i, x) && is_inside(p, i / p.N, x);
    }
  });
}

template <class T>
constexpr Kernels<T> kKernels = {nearest<T>, inside<T>};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::query
