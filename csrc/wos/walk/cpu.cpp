// Walks, their gradients and their starts. Compiled once per instruction set.
#include "core/run/parallel.hpp"
#include "wos/mesh/locate.hpp"
#include "wos/polygon/rows.hpp"
#include "wos/walk/adjoint.hpp"
#include "wos/walk/args.hpp"
#include "wos/walk/expand.hpp"
#include "wos/walk/formula.hpp"
#include "wos/walk/rounds.hpp"
#include "wos/walk/trace.hpp"

namespace quatrefoil::wos::walk {
inline namespace QF_ISA {

constexpr int64_t kPlaced = 4096;  // points that share the rows of a polygon; building them costs as much as placing a few hundred points

// Computes the starts of walks in the frame of their boundary, in double precision.
template <class T>
int64_t place(const WalkStarts<T>& p) {
  int64_t bad = -1;
  const int D = p.dimension;
  const int64_t size = min(p.N, p.segments && p.B ? max(kPlaced, p.segments[0].M) : 256), parts = p.N ? (p.N + size - 1) / size : 0;
  const auto put = [&](int64_t i, auto&& keep) {
    const double* const frame = p.frame + i / p.N * (D + 2);
    const T* const from = p.points + (p.shared ? i % p.N : i) * D;
    double x[solid::kMaxDimension];
    bool finite = true;
    for (int j = 0; j < D; ++j) {
      if (finite && !(from[j] - from[j] == T(0))) note_first(bad, (from - p.points) + j), finite = false;
      x[j] = (double(from[j]) - frame[j]) / frame[D];
    }
    const bool starts = finite && keep(frame[D + 1], x);
    for (int j = 0; j < D; ++j) p.start[i * D + j] = starts ? T(x[j]) : T(__builtin_nan(""));
  };
  parallel_for(p.B * parts, p.threads, double(size) * (p.mesh ? 500 : 30), [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t instance = item / parts, first = instance * p.N + item % parts * size;
      const int64_t last = min(first + size, (instance + 1) * p.N);
      if (p.segments) {
        const polygon::Rows rows(p.segments[instance]);
        for (int64_t i = first; i < last; ++i) put(i, [&](double epsilon, double* x) { return rows.keep(p.outside, epsilon, x); });
      } else if (p.mesh) {
        for (int64_t i = first; i < last; ++i)
          put(i, [&](double epsilon, double* x) { return mesh::keep_in_mesh(*p.mesh, p.closed, p.outside, epsilon, x); });
      } else {
        for (int64_t i = first; i < last; ++i)
          put(i, [&](double epsilon, double* x) { return solid::keep(p.solid, D, p.outside, epsilon, x); });
      }
    }
  });
  return bad;
}

void gather(const Gather& p) {
  if (p.dimension == 2)
    gather<2>(p);
  else
    gather<3>(p);
}

template <class T>
constexpr Kernels<T> kKernels = {walk<T>, walk_adjoint<T>, trace<T>, expand<T>, balls<T>, place<T>};

extern const Table kernels;
const Table kernels = {{kKernels<float>, kKernels<double>}, gather};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
