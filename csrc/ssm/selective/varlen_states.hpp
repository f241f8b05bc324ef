// Copies the last samples of packed sequences, README (14): the state of a short convolution.
#pragma once
#include "core/run/parallel.hpp"
#include "ssm/selective/args.hpp"

namespace quatrefoil::ssm::selective {
inline namespace QF_ISA {

constexpr double kCopyNs = 0.5;  // one element (estimate)

template <class T>
void varlen_states(const VarlenStates<T>& p) {
  parallel_for(p.items * p.channels, p.threads, double(p.states) * kCopyNs, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t item = i / p.channels, from = p.ends[item + 1] - p.states,
                    missing = min(p.states, max<int64_t>(p.ends[item] - from, 0));
      T* const to = p.out + i * p.states;
      set_zero(to, missing);
      const T* const x = p.x.at + i % p.channels * p.x.channel;
      for (int64_t k = missing; k < p.states; ++k) to[k] = x[(from + k) * p.x.time];
    }
  });
}

template <class T>
void varlen_states_adjoint(const VarlenStatesAdjoint<T>& q) {
  const auto& p = q.forward;
  set_zero(q.dx, q.length * p.channels);
  parallel_for(p.items, p.threads, double(p.channels * p.states) * kCopyNs, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first = max(p.ends[item], p.ends[item + 1] - p.states);
      for (int64_t t = first; t < p.ends[item + 1]; ++t) {
        const T* const from = q.grad.at + item * q.grad.item + (t - p.ends[item + 1] + p.states) * q.grad.time;
        for (int64_t d = 0; d < p.channels; ++d) q.dx[t * p.channels + d] = from[d * q.grad.channel];
      }
    }
  });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::selective
