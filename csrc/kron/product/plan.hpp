// Preparation of factors: merges tiny neighbours, packs them for the register tiles, and orders the passes over memory.
#pragma once
#include "core/gemm/packed.hpp"
#include "core/run/parallel.hpp"
#include "kron/product/args.hpp"
#include "kron/product/formula.hpp"
#include "kron/product/pack.hpp"

namespace quatrefoil::kron::product {
inline namespace QF_ISA {

constexpr int64_t kMergedLast = 16;  // factors on the last axis are merged until they fill one or two vectors
constexpr int64_t kMergedOther = 8;  // elsewhere merging saves passes through L1 but adds operations: useful up to 2 x 4 and 2 x 2 x 2
// Several factors are applied to a slab while it stays in L2 (at least 256 KB).
constexpr int64_t kSlabBytes = 256 << 10, kSmallestSlabBytes = 16 << 10, kSlabs = 8;

template <class T>
struct Stage {
  int64_t m, n;
  const T* a;  // packed by `pack_right` for the last stage, by `pack_left` for the others
};

// Neighbouring stages of one pass over memory.
struct Group {
  int first, last;
};

template <class T>
struct Plan {
  int stages, groups;
  Stage<T>* stage;
  Group* group;
};

template <class T>
QF_HD Source<T> source_of(const Factors<T>& f, int k) {
  const Matrix<T>& a = f.list[k];
  return f.transpose ? Source<T>{a.data, a.n, a.m, 1, a.n} : Source<T>{a.data, a.m, a.n, a.n, 1};
}

// (2) The product of two neighbours, written to `to`.
template <class T>
Source<T> merged(const Source<T>& a, const Source<T>& b, T* to) {
  const int64_t m = a.m * b.m, n = a.n * b.n;
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) to[i * n + j] = kronecker_entry<T>(a, b, i, j, b.m, b.n);
  return {to, m, n, n, 1};
}

constexpr double kPackNs = 1;  // per element packed from memory

// Packs A as the left factor: for each block of columns, panels of rows x n elements.
template <class T>
T* pack_left(const Source<T>& a, T* to) {
  InterruptCheck check;
  const int64_t depth = block_depth<T>(a.n);
  for (int64_t k = 0; k < a.n; k += depth) {
    const int64_t n = min(depth, a.n - k);
    for_panels(a.m, [&](auto rows, int64_t i) {
      check(double(rows.value * n) * kPackNs);
      pack_rows<rows.value>(a, i, k, n, to);
      to += rows.value * n;
    });
  }
  return to;
}

// Packs A^T as the right factor, for the last axis: for each tile, columns x n.
template <class T>
T* pack_right(const Source<T>& a, T* to) {
  InterruptCheck check;
  for_columns<T>(a.m, [&](auto columns, int64_t j) {
    check(double(columns.count * a.n) * kPackNs);
    pack_rows<columns.count>(a, j, 0, a.n, to);
    to += columns.count * a.n;
  });
  return to;
}

// README (3): axes that shrink come first, those that grow last. No array between two passes is larger than the larger of x and y.
template <class T>
int phase_of(const Stage<T>& s) {
  return s.m < s.n ? 0 : s.m == s.n ? 1 : 2;
}

template <class T>
QF_HD bool fits(const Plan<T>& p, int first, int last, int64_t bytes) {
  double slab = double(sizeof(T)) * (last + 1 == p.stages ? 1.0 : double(kTileVectors * kLanes<T>));
  for (int k = first; k <= last; ++k) slab *= double(max(p.stage[k].m, p.stage[k].n));
  return slab <= double(bytes);
}

template <class T>
int arrange(Plan<T>& p, int64_t slab_bytes) {
  p.groups = 0;
  for (int phase = 0; phase < 3; ++phase)
    for (int k = p.stages - 1; k >= 0; --k) {
      if (phase_of(p.stage[k]) != phase) continue;
      const int last = k;
      while (k > 0 && phase_of(p.stage[k - 1]) == phase && fits(p, k - 1, last, slab_bytes)) --k;
      p.group[p.groups++] = {k, last};
    }
  return p.groups;
}

// Chooses the fewest passes over memory, then the smallest slabs; at least kSlabs slabs if a vector is large enough for threads.
template <class T>
void arrange(Plan<T>& p) {
  double vector = sizeof(T);
  for (int k = 0; k < p.stages; ++k) vector *= double(max(p.stage[k].m, p.stage[k].n));
  const int64_t max_bytes = vector < double(kSlabBytes * kSlabs) ? max(int64_t(vector) / kSlabs, kSmallestSlabBytes) : kSlabBytes;
  const int fewest = arrange(p, max_bytes);
  int64_t bytes = kSmallestSlabBytes;
  while (bytes < max_bytes && arrange(p, bytes) > fewest) bytes *= 2;
  arrange(p, min(bytes, max_bytes));
}

// Merges from the right; returns the number of stages, with their matrices in `list`. `workspace`: d matrices of kMergedLast^2 numbers.
template <class T>
int merge(const Factors<T>& f, Source<T>* list, T* workspace) {
  int count = 0;
  for (int k = f.count - 1; k >= 0;) {
    Source<T> s = source_of(f, k--);
    const int64_t limit = count == 0 ? kMergedLast : kMergedOther;
    while (k >= 0) {
      const Source<T> next = source_of(f, k);
      const bool thin = count == 0 ? s.m < kLanes<T> || max(next.m, next.n) == 1 : true;
      if (!thin || s.m * next.m > limit || s.n * next.n > limit) break;
      s = merged(next, s, workspace);
      workspace += s.m * s.n;
      --k;
    }
    list[count++] = s;
  }
  for (int i = 0, j = count - 1; i < j; ++i, --j) {
    const Source<T> s = list[i];
    list[i] = list[j];
    list[j] = s;
  }
  return count;
}

// Lists the matrices of the stages and returns their number; `merges`: whether factors may share a stage.
template <class T>
int list_stages(const Factors<T>& f, bool merges, Source<T>* list, T* workspace) {
  if (merges) return merge(f, list, workspace);
  for (int k = 0; k < f.count; ++k) list[k] = source_of(f, k);
  return f.count;
}

// The packed size of a stage; the last one packs overlapping columns twice.
template <class T>
int64_t packed_numbers(const Stage<T>& s, bool last) {
  return s.n * (s.m + (last ? kLanes<T> : 0));
}

// Packs stage k of a plan at `to`; returns the address of the next stage.
template <class T>
T* pack_stage(const Plan<T>& p, int k, const Source<T>& a, T* to) {
  p.stage[k].a = to;
  return k + 1 < p.stages ? pack_left(a, to) : pack_right(a, to);
}

// Reads the factors once. Unless `merges`, there is one stage per factor and no group, as the adjoint requires.
template <class T>
Plan<T>* prepare(const Factors<T>& f, bool merges) {
  Scratch<Source<T>> list(f.count);
  Scratch<T> workspace(merges ? f.count * kMergedLast * kMergedLast : 0);
  const int stages = list_stages(f, merges, static_cast<Source<T>*>(list), static_cast<T*>(workspace));
  int64_t numbers = 0;
  for (int k = 0; k < stages; ++k) numbers += packed_numbers(Stage<T>{list[k].m, list[k].n, nullptr}, k + 1 == stages);
  const int64_t head = round_up(sizeof(Plan<T>), 64), table = round_up(stages * int64_t(sizeof(Stage<T>)), 64),
                groups = round_up(stages * int64_t(sizeof(Group)), 64);
  Scratch<char> memory(head + table + groups + numbers * int64_t(sizeof(T)));
  char* const block = memory;
  Plan<T>* const p = reinterpret_cast<Plan<T>*>(block);
  *p = {stages, 0, reinterpret_cast<Stage<T>*>(block + head), reinterpret_cast<Group*>(block + head + table)};
  T* to = reinterpret_cast<T*>(block + head + table + groups);
  for (int k = 0; k < stages; ++k) {
    p->stage[k] = {list[k].m, list[k].n, nullptr};
    to = pack_stage(*p, k, list[k], to);
  }
  if (merges) arrange(*p);
  memory.give();
  return p;
}

}  // namespace QF_ISA
}  // namespace quatrefoil::kron::product
