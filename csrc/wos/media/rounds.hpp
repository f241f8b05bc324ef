// Runs the walks of points and instances, and their adjoint.
#pragma once
#include "core/run/parallel.hpp"
#include "wos/media/points.hpp"
#include "wos/media/values.hpp"
#include "wos/walk/rounds.hpp"

namespace quatrefoil::wos::media {
inline namespace QF_ISA {

// Runs every walk of a round, like walk::walk_round.
template <class T>
void media_round(const Media<T>& q, const walk::Round& r, const double* roots, double* values, uint32_t* marks) {
  const walk::Walk<T>& p = q.walk;
  const int64_t total = r.total(), B = r.instance_end - r.instance, D = p.dimension;
  Scratch<uint32_t> beyond(B * total);
  walk::in_tasks(r, p.threads, calls_functions(q), kUsualSteps * kStepNs, [&](int64_t at, int64_t first, int64_t last) {
    const int64_t instance = r.instance + at;
    double* const own = values + at * total * p.channels();
    const auto finish = [&](const auto& sink) { sink.finish(r.slots, q.slopes ? q.slopes + instance * p.N * D : nullptr); };
    run_team<Values>(q, instance, r.slots, roots + instance * p.N, first, last, finish, q, instance, first, last, own, total,
                     marks + at * total, beyond + at * total);
  });
  add_jumps(q, r, beyond);
}

template <class T>
void media(const Media<T>& q) {
  const walk::Walk<T>& p = q.walk;
  const Scratch<double> roots(p.B * p.N);
  find_roots(q, roots);
  walk::in_rounds(p, [&](const walk::Round& r, double* values, uint32_t* marks) { media_round<T>(q, r, roots, values, marks); });
}

// Costs as much as a forward run without its reduction. Memory: at most walk::kParts partial sums per gradient, for any number of walks.
template <class T>
void media_adjoint(const MediaAdjoint<T>& unscaled) {
  const walk::Walk<T>& p = unscaled.forward.walk;
  const int64_t total = p.N * p.walks;
  if (p.B * total == 0 || (!unscaled.ddirichlet && !unscaled.dsource)) return;
  const walk::Units units(unscaled.grad, p.B, p.N * p.nodes() * p.channels());
  MediaAdjoint<T> q = unscaled;
  q.grad = units.grad();
  const Scratch<double> roots(p.B * p.N);
  find_roots(q.forward, roots);
  const walk::WalkAdjoint<T> sizes{p, q.grad, q.ddirichlet, q.dsource};
  const int64_t parts = walk::parts_of(sizes);
  const walk::Parts of_boundary(p.dirichlet, p.B, parts, q.ddirichlet), of_source(p.source, p.B, parts, q.dsource);
  const walk::Slots slots{0, p.N, p.first_walk, p.walks};
  walk::in_batches(p, parts, kUsualSteps * kStepNs, [&](int64_t instance, int64_t part, int64_t first, int64_t last) {
    run_team<Shares>(
        q.forward, instance, slots, roots + instance * p.N, first, last, [](const auto&) {}, q, instance, slots,
        of_boundary(instance, part), of_source(instance, part));
  });
  of_boundary.add_up(units);
  of_source.add_up(units);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::media
