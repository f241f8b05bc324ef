// Walks in more than three dimensions on a GPU: README, More dimensions. The vectors of a walk are columns of a workspace.
#pragma once
#include "wos/walk/cuda.hpp"
#include "wos/walk/formula_wide.hpp"

namespace quatrefoil::wos::walk {
inline namespace QF_ISA {

using Column = data::Column;

__device__ __forceinline__ WideWalker<Column> wide_walker(const Walk<double>& p, double* workspace, int64_t walkers, int64_t number) {
  return {p.dimension, Column{workspace + number, walkers}, p.boundary.ends, p.max_steps, p.gradient};
}
// Starts a walk of a right-hand side, or stays idle if the start is NaN.
__device__ __forceinline__ void begin(WideWalker<Column>& walker, const Walk<double>& p, int64_t side, int64_t point, int64_t walk) {
  const int64_t instance = p.instance_of(side), D = walker.D;
  walker.begin(p.start + (instance * p.N + point) * D, p.frame + instance * (D + 2), p.screening, random_of(p, instance, point, walk));
}

// The value of a walk and, for a pair, the gradient.
class WideValues {
 public:
  const bool wants_sources;

  __device__ WideValues(const Walk<double>& p, const WideWalker<Column>& walker, const Results& to)
      : wants_sources(p.source.kind != data::Kind::none), p_(p), walker_(walker), to_(to) {}

  __device__ void begin(int64_t instance, int64_t slot) {
    boundary_ = data::WideField(p_.dirichlet, instance, walker_.D);
    if (wants_sources) source_ = data::WideField(p_.source, instance, walker_.D);
    extent_ = p_.frame[p_.instance_of(instance) * (walker_.D + 2) + walker_.D];
    slot_ = slot, sum_ = first_sum_ = 0;
    first_ = {1, 0, __builtin_nan(""), __builtin_nan("")};
  }
  __device__ void none(int64_t slot) { to_.none(slot, p_.channels()); }
  __device__ void enter(const WideFirst& at) { first_ = at; }
  __device__ void meet(const WideMet<Column>& met) {
    data::WideField field = source_;
    if (met.ends) field = boundary_;
    const double value = met.ends && !(met.weight > 0) ? 0 : met.weight * field.value(met.x);
    if (met.ends) return end(met.mark, value + sum_);
    (met.in_first ? first_sum_ : sum_) += value * (extent_ * extent_);
  }

 private:
  __device__ void end(uint32_t mark, double total) {
    to_.marks[slot_] = mark;
    to_.values[slot_] = p_.gradient ? first_.along * total + first_.source * first_sum_ : total;
    for (int64_t i = 0; p_.gradient && i < walker_.D; ++i) {
      const double n = walker_.first_n[i], m = walker_.first_m[i];
      to_.values[(1 + i) * to_.slots + slot_] = (first_.outward * n * total + first_.toward * m * first_sum_) / extent_;
    }
  }

  const Walk<double>& p_;
  const WideWalker<Column>& walker_;
  const Results& to_;
  data::WideField boundary_, source_;
  WideFirst first_{};
  int64_t slot_ = 0;
  double extent_ = 1, sum_ = 0, first_sum_ = 0;
};

// Adds a walk's share to the gradients.
class WideShares {
 public:
  const bool wants_sources;

  __device__ WideShares(const WalkAdjoint<double>& q, const WideWalker<Column>& walker, int64_t instance, const Column& to_dirichlet,
                        const Column& to_source)
      : wants_sources(to_source.at != nullptr),
        q_(q),
        walker_(walker),
        instance_(instance),
        to_boundary_(to_dirichlet),
        to_source_(to_source),
        boundary_(q.forward.dirichlet, instance, walker.D),
        source_(q.forward.source, instance, walker.D),
        extent_(q.forward.frame[q.forward.instance_of(instance) * (walker.D + 2) + walker.D]) {}

  __device__ void begin(int64_t point, int64_t walk) {
    grad_ = grad_of(q_, instance_, point, walk, walks_);
    share_ = grad_[0] / walks_, first_share_ = 0;
  }
  __device__ void enter(const WideFirst& at) {
    double after = grad_[0] * at.along, here = grad_[0] * at.source;
    for (int64_t i = 0; i < walker_.D; ++i) {
      after += grad_[1 + i] * (at.outward * walker_.first_n[i] / extent_);
      here += grad_[1 + i] * (at.toward * walker_.first_m[i] / extent_);
    }
    share_ = after / walks_, first_share_ = here / walks_;
  }
  __device__ void meet(const WideMet<Column>& met) {
    if (met.ends && (!to_boundary_.at || !(met.weight > 0))) return;
    data::WideField field = source_;
    Column to = to_source_;
    double share = met.weight * extent_ * extent_ * (met.in_first ? first_share_ : share_);
    if (met.ends) field = boundary_, to = to_boundary_, share = met.weight * share_;
    field.add_share(met.x, share, to);
  }

 private:
  const WalkAdjoint<double>& q_;
  const WideWalker<Column>& walker_;
  const int64_t instance_;
  const Column to_boundary_, to_source_;
  const data::WideField boundary_, source_;
  const double extent_;
  const double* grad_ = nullptr;
  double walks_ = 1, share_ = 0, first_share_ = 0;
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
