// The product: factors are packed once, and applied by the passes of a plan.
#pragma once
#include "kron/product/pass.hpp"

namespace quatrefoil::kron::product {
inline namespace QF_ISA {

template <class T>
void* prepare_product(const Factors<T>& f) {
  return prepare(f, true);
}

inline void discard(void* plan) { release(plan); }

// Calls f(pass, L, group) for each pass of a plan in order. L: B times the sizes of the axes before those of the pass. `size`: workspace.
template <class T, class F>
void for_passes(const Plan<T>& p, int64_t B, int64_t* size, F&& f) {
  const auto around = [&](int from, int to) {
    int64_t n = 1;
    for (int k = from; k < to; ++k) n *= size[k];
    return n;
  };
  for (int k = 0; k < p.stages; ++k) size[k] = p.stage[k].n;
  for (int i = 0; i < p.groups; ++i) {
    const Group& g = p.group[i];
    const int64_t L = B * around(0, g.first), R = around(g.last + 1, p.stages);
    for (int k = g.first; k <= g.last; ++k) size[k] = p.stage[k].m;
    f(Pass<T>(p.stage, g.first, g.last, g.last + 1 == p.stages, R), L, g);
  }
}

// Runs the passes, in place if `Pass::in_place` allows it. All others move the data to another array, and so does the first, because it
// must not overwrite x. Moves alternate between y and a spare array so that the last one goes to y; arrays too large for y go to a second
// spare array. With square factors there is one move and no spare array. `ready(group, run)` calls run() once the pass is packed.
template <class T, class Ready>
void run_passes(const Plan<T>& p, const Product<T>& q, Ready&& ready) {
  Scratch<int64_t> size(p.stages);
  int64_t N = q.B, M = q.B;
  for (int k = 0; k < p.stages; ++k) N *= p.stage[k].n, M *= p.stage[k].m;
  if (M == 0 || N == 0) return set_zero(q.y, M);

  int moves = 0;
  const auto moved = [&](const Pass<T>& pass, bool first) { return first || !pass.in_place(); };
  for_passes(p, q.B, size, [&](const Pass<T>& pass, int64_t, const Group&) { moves += moved(pass, moves == 0); });
  int move = 0;
  const auto to_y = [&](int64_t numbers) { return (moves - move) % 2 == 0 && numbers <= M; };  // for move = 1, 2, ...
  int64_t spare[2] = {0, 0};
  for_passes(p, q.B, size, [&](const Pass<T>& pass, int64_t L, const Group&) {
    if (!moved(pass, move == 0)) return;
    ++move;
    const int64_t out = L * pass.numbers_out();
    if (!to_y(out)) spare[move % 2] = max(spare[move % 2], out);
  });
  const Scratch<T> even(spare[0]), odd(spare[1]);
  const T* x = q.x;
  T* y = nullptr;
  move = 0;
  for_passes(p, q.B, size, [&](const Pass<T>& pass, int64_t L, const Group& g) {
    if (moved(pass, move == 0)) {
      ++move;
      y = to_y(L * pass.numbers_out()) ? q.y : move % 2 ? static_cast<T*>(odd) : static_cast<T*>(even);
    }
    ready(g, [&] { pass.run(L, x, y, q.threads); });
    x = y;
  });
}

template <class T>
void apply(const void* prepared, const Product<T>& q) {
  run_passes(*static_cast<const Plan<T>*>(prepared), q, [](const Group&, auto&& run) { run(); });
}

// The same with factors packed only for this product, one pass at a time, which halves the memory for two large factors.
template <class T>
void apply_once(const Factors<T>& f, const Product<T>& q) {
  const Scratch<Source<T>> list(f.count);
  const Scratch<T> workspace(f.count * kMergedLast * kMergedLast);
  const Scratch<Stage<T>> stage(f.count);
  const Scratch<Group> group(f.count);
  Plan<T> p{list_stages(f, true, static_cast<Source<T>*>(list), static_cast<T*>(workspace)), 0, stage, group};
  for (int k = 0; k < p.stages; ++k) p.stage[k] = {list[k].m, list[k].n, nullptr};
  arrange(p);
  run_passes(p, q, [&](const Group& g, auto&& run) {
    int64_t numbers = 0;
    for (int k = g.first; k <= g.last; ++k) numbers += packed_numbers(p.stage[k], k + 1 == p.stages);
    const Scratch<T> packed(numbers);
    T* to = packed;
    for (int k = g.first; k <= g.last; ++k) to = pack_stage(p, k, list[k], to);
    run();
  });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::kron::product
