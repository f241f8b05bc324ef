// The gradient of the scan: tasks for the heads of a group, and sums over the arrays that they share.
#pragma once
#include "ssm/ssd/head_adjoint.hpp"

namespace quatrefoil::ssm::ssd {
inline namespace QF_ISA {

constexpr int64_t kAdjointTasks = 32;  // target; the split of the heads depends only on the sizes, so sums do not depend on the threads

// (11) Adds the contribution of the inner products' gradient, which is summed over the heads of a group, to the gradients of B and C.
template <class T>
void add_inner(const ChunkScanAdjoint<T>& p, const ChunkScan<T>& f, const InnerProducts<T>& inner, const Chunks<T>& chunks,
               const T* gradient) {
  const int64_t splits = f.length / f.steps + 1;  // number of parts into which the chunks of an item are split
  const int64_t tasks = f.items * f.groups * splits, stride = f.groups * f.states;
  parallel_for(tasks, f.threads, double(f.steps) * inner.row_ns() * 2, [&](int64_t at, int64_t stop) {
    for (; at < stop; ++at) {
      const int64_t group = at / splits % f.groups, item = at / splits / f.groups, part = at % splits, n = chunks.count(item);
      for (int64_t k = part * n / splits; k < (part + 1) * n / splits; ++k) {
        const Chunk& c = chunks.begin(item)[k];
        check_interrupt(double(c.steps) * inner.row_ns() * 2);
        const int64_t first = (item * f.length + c.begin) * stride + group * f.states;
        const T* const triangle = gradient + ((item * f.groups + group) * f.length + c.begin) * inner.padded();
        add_lower<Left::rows>(c.steps, triangle, inner.padded(), in_rows(f.B + first, c.steps, stride), f.states,
                              in_rows(p.dC + first, c.steps, stride));
        add_lower<Left::columns>(c.steps, triangle, inner.padded(), in_rows(f.C + first, c.steps, stride), f.states,
                                 in_rows(p.dB + first, c.steps, stride));
      }
    }
  });
}

// The number of tasks for the heads of a group. The parts of dB and dC take at most the memory of two results, and heads that are processed
// together stay in one task.
template <class T>
int64_t task_count(const ChunkScan<T>& p) {
  const int64_t group_heads = p.heads / p.groups, wanted = (kAdjointTasks + p.items * p.groups - 1) / max<int64_t>(p.items * p.groups, 1);
  return max<int64_t>(1, min(min(group_heads / kHeadsTogether, wanted), p.heads * p.channels / max<int64_t>(p.groups * p.states, 1)));
}

template <class T>
void chunk_scan_adjoint(const ChunkScanAdjoint<T>& p) {
  ChunkScan<T> f = p.forward;
  f.steps = chunk_steps(f);
  if (f.items * f.heads == 0) {
    set_zero(p.dA, f.heads), set_zero(p.ddt_bias, f.heads), set_zero(p.dD, f.D_of_channels ? f.heads * f.channels : f.heads);
    set_zero(p.dB, f.items * f.length * f.groups * f.states), set_zero(p.dC, f.items * f.length * f.groups * f.states);
    return;
  }
  const Chunks<T> chunks(f);
  const InnerProducts<T> inner(f, chunks);
  const int64_t per_group = task_count(f), group_heads = f.heads / f.groups, tasks = f.items * f.groups * per_group;
  const int64_t mixing = f.length * f.groups * f.states, triangles = f.length * inner.padded();
  const Scratch<T> inner_gradient(f.items * f.groups * triangles);
  const Totals<T> totals{{p.dA, 1, f.items, f.heads},        {p.dD, 1, f.items, f.D_of_channels ? f.heads * f.channels : f.heads},
                         {p.ddt_bias, 1, f.items, f.heads},  {p.dB, f.items, per_group, mixing},
                         {p.dC, f.items, per_group, mixing}, {inner_gradient, f.items * f.groups, per_group, triangles}};
  int64_t longest = 0;
  for (int64_t item = 0; item < f.items; ++item) longest = max(longest, chunks.count(item));
  parallel_for(tasks, f.threads, head_ns(f) * kAdjointCost * double(group_heads) / double(per_group), [&](int64_t at, int64_t end) {
    HeadAdjoint<T> adjoint(p, f, inner, longest);
    for (; at < end; ++at) {
      const int64_t task = at % per_group, group = at / per_group % f.groups, item = at / per_group / f.groups,
                    part = item * per_group + task;
      const int64_t inner_part = (item * f.groups + group) * per_group + task;
      adjoint.begin(item, group, totals.dB.part(part), totals.dC.part(part), totals.inner.part(inner_part));
      const int64_t stop = (task + 1) * group_heads / per_group;
      for (int64_t h = task * group_heads / per_group; h < stop; h += kHeadsTogether)
        adjoint.run(group * group_heads + h, min(kHeadsTogether, stop - h), chunks, totals);
    }
  });
  for (const auto* sums : {&totals.dA, &totals.dD, &totals.ddt_bias, &totals.dB, &totals.dC, &totals.inner}) sums->add_up(f.threads);
  add_inner<T>(p, f, inner, chunks, inner_gradient);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::ssd
