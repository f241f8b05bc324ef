// The values of walks through media, the gradients of their means with respect to the data's parameters, and records of the walks.
#pragma once
#include "core/run/parallel.hpp"
#include "wos/media/points.hpp"
#include "wos/media/walker.hpp"
#include "wos/walk/list_records.hpp"
#include "wos/walk/rounds.hpp"

namespace quatrefoil::wos::media {
inline namespace QF_ISA {

template <class V, int D>
using Values = walk::ListValues<V, D, double>;
template <class V, int D>
using Shares = walk::ListShares<V, D, double>;
template <class V, int D>
using Records = walk::ListRecords<V, D, double>;

// Runs slots [first, last) of one instance with a sink of this type. `roots`: those of all points of all instances.
template <template <class, int> class Own, class T, class... Args>
void run_team(const Media<T>& p, int64_t instance, const walk::Slots& slots, const double* roots, int64_t first, int64_t last,
              const Args&... arguments) {
  using V = Lanes<T>;
  walk::with_inside<V>(p.walk, instance, [&](const auto& domain) {
    using Of = typename std::remove_const<typename std::remove_reference<decltype(domain)>::type>::type;
    const double* const slopes = p.slopes ? p.slopes + instance * p.walk.N * Of::D : nullptr;
    Own<V, Of::D> sink(p.walk, instance, slots, first, last, slopes, walk::kCallPoints + kForCalls + kWidth<V>, arguments...);
    Team<V, Of::D>(p, instance, slots, DomainOf<V, Of>(domain), roots + instance * p.walk.N, sink).run(first, last);
  });
}

template <class T>
void media(const Media<T>& q) {
  const walk::Walk<T>& p = q.walk;
  const Scratch<double> roots(p.B * p.N);
  find_roots(q, roots);
  walk::in_rounds(p, [&](const walk::Round& r, double* values, uint32_t* marks) {
    const int64_t total = r.total();
    const Scratch<uint32_t> jumps((r.instance_end - r.instance) * total);
    walk::in_tasks(r, p.threads, calls_functions(q), kUsualSteps * kStepNs, [&](int64_t at, int64_t first, int64_t last) {
      double* const own = values + at * total * p.channels() * p.nrhs;
      uint32_t* const beyond = jumps + at * total;
      run_team<Values>(q, r.instance + at, r.slots, roots, first, last, total, own, marks + at * total, beyond);
    });
    add_jumps(q, r, jumps);
  });
}

template <class T>
void media_trace(const MediaTrace<T>& q) {
  const Media<T>& p = q.forward;
  const Scratch<double> roots(p.walk.N);
  find_roots(p, roots);
  walk::record(p.walk, q.to, calls_functions(p), kUsualSteps * kStepNs,
               [&](const walk::Slots& slots, int64_t first, int64_t last, const int64_t* begin) {
                 run_team<Records>(p, 0, slots, roots, first, last, q.to, begin);
               });
}

// Costs as much as a forward run without its reduction.
template <class T>
void media_adjoint(const MediaAdjoint<T>& q) {
  const Media<T>& p = q.forward;
  const Scratch<double> roots(p.walk.B * p.walk.N);
  find_roots(p, roots);
  walk::replay(p.walk, q.grad, q.numbers, kUsualSteps * kStepNs,
               [&](int64_t instance, const walk::Slots& slots, int64_t first, int64_t last, const double* grad, const auto& to) {
                 run_team<Shares>(p, instance, slots, roots, first, last, grad, to);
               });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::media
