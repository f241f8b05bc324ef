// The values of walks on stars, the gradients of their means with respect to the data's parameters, and records of the walks.
#pragma once
#include "wos/media/points.hpp"
#include "wos/stars/walker.hpp"
#include "wos/walk/list_records.hpp"

namespace quatrefoil::wos::stars {
inline namespace QF_ISA {

template <class V, int D>
using Values = walk::ListValues<V, D, Element<V>>;
template <class V, int D>
using Shares = walk::ListShares<V, D, Element<V>>;
template <class V, int D>
using Records = walk::ListRecords<V, D, Element<V>>;

// Runs slots [first, last) of one instance, a polygon or a mesh, with a sink of this type. `roots`: those of all points of all instances.
template <template <class, int> class Own, class T, class... Args>
void run_team(const Stars<T>& p, int64_t instance, const walk::Slots& slots, const double* roots, int64_t first, int64_t last,
              const Args&... arguments) {
  using V = Lanes<T>;
  const int D = p.walk.dimension;
  const double* const slopes = p.medium && p.walk.gradient ? p.medium->slopes + instance * p.walk.N * D : nullptr;
  const auto run = [&](const auto& domain, const auto& walls) {
    using Domain = typename std::remove_const<typename std::remove_reference<decltype(domain)>::type>::type;
    using Walls = typename std::remove_const<typename std::remove_reference<decltype(walls)>::type>::type;
    Own<V, Domain::D> sink(p.walk, instance, slots, first, last, slopes, list_capacity<V>(p), arguments...);
    if (p.medium) {
      media::Medium<V, Domain::D> medium(*p.medium, instance, list_capacity<V>(p), true);
      const double* const own = roots + instance * p.walk.N;
      Team<V, Domain, Walls, true>(p, instance, slots, domain, walls, sink, &medium, own).run(first, last);
    } else {
      Team<V, Domain, Walls, false>(p, instance, slots, domain, walls, sink, nullptr, nullptr).run(first, last);
    }
  };
  const double extent = p.walk.frame[(D + 2) * instance + D];
  if (p.walk.mesh)
    run(mesh::Mesh<V>(*p.walk.mesh), Reflecting3D<T>(p.reflecting[instance], extent));
  else
    run(polygon::Polygon<V>(p.walk.grids[instance]), Reflecting2D<T>(p.reflecting[instance], extent));
}

// Costs as much as a forward run without its reduction.
template <class T>
void stars_adjoint(const StarsAdjoint<T>& q) {
  const Stars<T>& p = q.forward;
  const Scratch<double> roots(p.medium ? p.walk.B * p.walk.N : 0);
  if (p.medium) media::find_roots(*p.medium, roots);
  walk::replay(p.walk, q.grad, q.numbers, kUsualSteps * kStepNs,
               [&](int64_t instance, const walk::Slots& slots, int64_t first, int64_t last, const double* grad, const auto& to) {
                 run_team<Shares>(p, instance, slots, roots, first, last, grad, to);
               });
}

template <class T>
void stars_trace(const StarsTrace<T>& q) {
  const Stars<T>& p = q.forward;
  const Scratch<double> roots(p.medium ? p.walk.N : 0);
  if (p.medium) media::find_roots(*p.medium, roots);
  walk::record(p.walk, q.to, p.medium && media::calls_functions(*p.medium), kUsualSteps * kStepNs,
               [&](const walk::Slots& slots, int64_t first, int64_t last, const int64_t* begin) {
                 run_team<Records>(p, 0, slots, roots, first, last, q.to, begin);
               });
}

template <class T>
void stars(const Stars<T>& q) {
  const walk::Walk<T>& p = q.walk;
  const Scratch<double> roots(q.medium ? p.B * p.N : 0);
  if (q.medium) media::find_roots(*q.medium, roots);
  walk::in_rounds(p, [&](const walk::Round& r, double* values, uint32_t* marks) {
    const int64_t total = r.total();
    const Scratch<uint32_t> jumps(q.medium ? (r.instance_end - r.instance) * total : 0);
    walk::in_tasks(r, p.threads, q.medium && media::calls_functions(*q.medium), kUsualSteps * kStepNs,
                   [&](int64_t at, int64_t first, int64_t last) {
                     double* const own = values + at * total * p.channels() * p.nrhs;
                     uint32_t* const beyond = q.medium ? jumps + at * total : nullptr;
                     run_team<Values>(q, r.instance + at, r.slots, roots, first, last, total, own, marks + at * total, beyond);
                   });
    if (q.medium) media::add_jumps(*q.medium, r, jumps);
  });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::stars
