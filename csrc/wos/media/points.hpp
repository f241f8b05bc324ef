// Arrays with one entry per point of every instance: the square root of the diffusion, and the number of jumps beyond the bound.
#pragma once
#include "core/run/parallel.hpp"
#include "wos/media/medium.hpp"
#include "wos/walk/lists.hpp"
#include "wos/walk/rounds.hpp"

namespace quatrefoil::wos::media {
inline namespace QF_ISA {

template <class T>
bool calls_functions(const Media<T>& p) {
  for (const data::Data* each : {&p.walk.dirichlet, &p.walk.source, &p.diffusion, &p.screening})
    if (each->kind == Kind::function) return true;
  return false;
}

// sqrt(alpha) at the starts of all walks, for all points of all instances.
template <class T, int D>
void find_roots(const Media<T>& p, double* roots) {
  using V = Lanes<T>;
  constexpr int64_t W = kWidth<V>, capacity = kForCalls;
  const int64_t N = p.walk.N, parts = (N + capacity - 1) / capacity;
  parallel_for(p.walk.B * parts, p.walk.threads, double(min(N, capacity)) * 20, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t instance = item / parts, from = instance * N + item % parts * capacity,
                    count = min(capacity, N - item % parts * capacity);
      Medium<V, D> medium(p, instance, capacity + W);
      walk::List<T, D, double> list(capacity + W);
      for (int64_t i = from; i < from + count; ++i) {
        T x[D];
        for (int j = 0; j < D; ++j) x[j] = p.walk.start[i * D + j];
        if (x[0] == x[0]) list.add(x, 0, i);
      }
      if (!list.count) continue;
      const auto at = list.points();
      Scratch<double> of_list(capacity + W);
      medium.roots(at.column, list.pad(W), of_list);
      for (int64_t e = 0; e < list.count; ++e) roots[list.slot()[e]] = of_list[e];
    }
  });
}
// The same for domains of either dimension. Also sets the numbers of jumps to 0, if they are requested.
template <class T>
void find_roots(const Media<T>& p, double* roots) {
  for (int64_t i = 0; p.beyond && i < p.walk.sides() * p.walk.N; ++i) p.beyond[i] = 0;
  if (p.walk.dimension == 2)
    find_roots<T, 2>(p, roots);
  else
    find_roots<T, 3>(p, roots);
}

// Adds the jumps of a round's walks, one entry per slot, to those of the points, for each right-hand side.
template <class T>
void add_jumps(const Media<T>& q, const walk::Round& r, const uint32_t* beyond) {
  const walk::Walk<T>& p = q.walk;
  for (int64_t i = 0; i < (r.instance_end - r.instance) * r.slots.points; ++i) {  // points outside the domain have no jumps
    const int64_t instance = r.instance + i / r.slots.points, point = r.slots.first_point + i % r.slots.points;
    const T start = p.start[(instance * p.N + point) * p.dimension];
    int64_t jumps = 0;
    for (int64_t w = 0; start == start && w < r.slots.walks; ++w) jumps += beyond[i * r.slots.walks + w];
    for (int64_t side = 0; side < p.nrhs; ++side) q.beyond[(instance * p.nrhs + side) * p.N + point] += jumps;
  }
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::media
