// One step of a selective state, for decoding: README (15). Reads and writes every state once, which is nearly all of the memory traffic.
#pragma once
#include "core/run/parallel.hpp"
#include "ssm/selective/channel_lanes.hpp"
#include "ssm/selective/formula.hpp"
#include "ssm/selective/selective_scan.hpp"

namespace quatrefoil::ssm::selective {
inline namespace QF_ISA {

constexpr int64_t kBlockDims = 64;    // dims per task; if they share A and their step size, one exponential serves all of them
constexpr double kStateStepNs = 0.2;  // one state (estimate)

// Loads W elements of a row, starting at element n; 0 beyond the last one. `dense`: there are W of them, and they are contiguous.
template <class V, bool dense = false, class T>
QF_HD V load_row(const T* row, int64_t stride, int64_t n, int64_t count) {
  if (dense) return load<V>(row + n);
  const int64_t left = count - n;
  return stride == 1 ? load_first<V>(row + n, left) : gather<V>(row + n * stride, stride, int(min<int64_t>(kWidth<V>, left)));
}

// Dims [dim, dim + rows) of one head of one item. Arrays with one element per dim are in lanes; lanes beyond the last dim are arbitrary.
template <class T>
struct StepTile {
  using V = Lanes<T>;
  const StateStep<T>& p;
  int64_t item, head, dim, row;  // row: row of the states; negative for padding
  int rows;

  StepTile(const StateStep<T>& p, int64_t item, int64_t head, int64_t dim, int64_t end)
      : p(p),
        item(item),
        head(head),
        dim(dim),
        row(p.row_of_item ? p.row_of_item[item] : item),
        rows(int(min<int64_t>(kLanes<T>, end - dim))) {}
  // The states of dim i.
  const T* state(int i) const { return p.state.at + row * p.state.item + head * p.state.head + (dim + i) * p.state.dim; }
  const T* A(int i) const { return p.A.at + head * p.A.head + (dim + i) * p.A.dim; }
  const T* mixing(const Grid<const T>& m) const { return m.at + item * m.item + head / (p.heads / p.groups) * m.head; }
  int64_t number() const { return (item * p.heads + head) * p.dims + dim; }                   // index in x, out, ..., if contiguous
  int64_t first_state() const { return ((row * p.heads + head) * p.dims + dim) * p.states; }  // index in the states, if contiguous

  V per_dim(const Grid<const T>& g) const {
    if (!g.at) return V{};
    const T* at = g.at + item * g.item + head * g.head + dim * g.dim;
    return g.dim == 0 ? broadcast<V>(*at) : load_row<V>(at, g.dim, 0, rows);
  }
  V raw_step() const { return per_dim(p.dt) + per_dim(p.bias); }
  V step_size(V raw) const { return p.softplus ? elementary::softplus(raw, elementary::softplus_tail(raw)) : raw; }
};

// (15) Computes x' and, for every dim, the sum over states of C x'. `shrink` contains the decays if A does not vary over the states.
// `dense`: the states are whole vectors, and every array with states has stride 1 along them.
template <bool varies, bool dense, class T>
Lanes<T> advance_states(const StepTile<T>& tile, Lanes<T> step, Lanes<T> input, Lanes<T> shrink) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>;
  const auto& p = tile.p;
  const T *const B = tile.mixing(p.B), *const C = tile.mixing(p.C);
  const int64_t N = p.states;
  T* next = p.next + tile.first_state();
  V sums[W]{};
  for (int i = 0; i < tile.rows; ++i, next += N) {
    const T *const state = tile.state(i), *const A = tile.A(i);
    const V delta = broadcast<V>(step[i]), in = broadcast<V>(input[i]);
    V a = broadcast<V>(shrink[i]), sum{};
    for (int64_t n = 0; n < N; n += W) {
      if (varies) a = decay(delta, decay_rate(load_row<V, dense>(A, p.A.state, n, N)));
      const V x = scan::step(a, load_row<V, dense>(state, p.state.state, n, N), V(in * load_row<V, dense>(B, p.B.state, n, N)));
      dense ? store(next + n, x) : store_first(next + n, x, N - n);
      sum = multiply_add(load_row<V, dense>(C, p.C.state, n, N), x, sum);
    }
    sums[i] = sum;
  }
  return sum_each(sums);
}

// Processes dims [begin, end) of one head of one item.
template <class T>
void step_dims(const StateStep<T>& p, int64_t item, int64_t head, int64_t begin, int64_t end) {
  using V = Lanes<T>;
  const bool varies = p.A.state != 0 && p.states > 1, uniform = !varies && !p.A.dim && !p.dt.dim && !p.bias.dim;
  const bool dense = p.states % kLanes<T> == 0 && p.state.state == 1 && p.B.state == 1 && p.C.state == 1 && (!varies || p.A.state == 1);
  V step{}, shrink{};
  for (int64_t dim = begin; dim < end; dim += kLanes<T>) {
    const StepTile<T> tile(p, item, head, dim, end);
    T* const out = p.out + tile.number();
    if (tile.row < 0) {
      store_first(out, V{}, tile.rows);
      continue;
    }
    if (dim == begin || !uniform) {
      step = tile.step_size(tile.raw_step());
      if (!varies && p.states) shrink = decay(step, decay_rate(tile.per_dim(p.A)));
    }
    const V x = tile.per_dim(p.x), input = step * x;
    V y{};
    with_bools(varies, dense,
               [&](auto v, auto d) { y = advance_states<decltype(v)::value, decltype(d)::value>(tile, step, input, shrink); });
    y = multiply_add(tile.per_dim(p.D), x, y);
    if (p.z.at) y = y * silu(tile.per_dim(p.z));
    store_first(out, y, tile.rows);
  }
}

// Copies the rows without an item from `from` to `to` (rows, heads, dims, states).
template <class T>
void copy_other_rows(const StateStep<T>& p, const Grid<const T>& from, T* to) {
  using V = Lanes<T>;
  if (!p.item_of_row) return;
  parallel_for(p.rows * p.heads, p.threads, double(p.dims * p.states) * kStateStepNs, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i / p.heads, head = i % p.heads;
      if (p.item_of_row[row] >= 0) continue;
      T* at = to + i * p.dims * p.states;
      for (int64_t dim = 0; dim < p.dims; ++dim, at += p.states) {
        const T* const source = from.at + row * from.item + head * from.head + dim * from.dim;
        for (int64_t n = 0; n < p.states; n += kLanes<T>) store_first(at + n, load_row<V>(source, from.state, n, p.states), p.states - n);
      }
    }
  });
}

template <class T>
void state_step(const StateStep<T>& p) {
  if (p.next != p.state.at) copy_other_rows(p, p.state, p.next);
  const int64_t blocks = (p.dims + kBlockDims - 1) / kBlockDims;
  parallel_for(p.items * p.heads * blocks, p.threads, double(min(p.dims, kBlockDims) * (p.states + 8)) * kStateStepNs,
               [&](int64_t begin, int64_t end) {
                 for (int64_t i = begin; i < end; ++i) {
                   const int64_t row = i / blocks, first = i % blocks * kBlockDims;
                   step_dims(p, row / p.heads, row % p.heads, first, min(p.dims, first + kBlockDims));
                 }
               });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::selective
