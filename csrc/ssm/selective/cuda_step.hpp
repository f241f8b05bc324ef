// One step of a selective state and its gradient on a GPU: README (15)-(18). Each dim of a head has as many lanes as states, rounded up to
// a power of two, at most a warp. Each state is read and written once, by a single thread, so the new states may overwrite the old ones.
#pragma once
#include "core/cuda/launch.hpp"
#include "core/cuda/shared.hpp"
#include "core/cuda/workspace.hpp"
#include "ssm/selective/args.hpp"
#include "ssm/selective/formula.hpp"

namespace quatrefoil::ssm::selective {
inline namespace QF_ISA {

constexpr int kStepThreads = 128;  // per thread block

inline int lanes_of_states(int64_t states) {
  int lanes = 1;
  while (lanes < kWarp && lanes < states) lanes *= 2;
  return lanes;
}
template <class T>
__device__ __forceinline__ T sum_of_group(T x, int lanes) {
  QF_ROLLED
  for (int by = lanes / 2; by; by /= 2) x += shuffle_xor(x, by);
  return x;
}

// Sets item_of_row[row], initially -1, to the first item that uses the row. One thread per item.
static __global__ void __launch_bounds__(kStepThreads, 1)
    find_items(const int64_t rows, const int64_t items, const int64_t* row_of_item, int64_t* item_of_row) {
  QF_ROLLED
  for (int64_t item = int64_t(blockIdx.x) * kStepThreads + threadIdx.x; item < items; item += int64_t(gridDim.x) * kStepThreads) {
    using Number = unsigned long long;  // -1 is the largest
    const int64_t row = row_of_item[item];
    if (row >= 0 && row < rows) atomicMin(reinterpret_cast<Number*>(item_of_row + row), Number(item));
  }
}

// Copies the rows that no item uses from `from` to `to` (rows, heads, dims, states). One thread block per head of a row.
template <class T>
__global__ void __launch_bounds__(kStepThreads, 1)
    copy_rows(const int64_t count, const int64_t heads, const int64_t dims, const int64_t states, const int64_t* item_of_row,
              const Grid<const T> from, T* to) {
  QF_ROLLED
  for (int64_t at = blockIdx.x; at < count; at += gridDim.x) {
    const int64_t row = quotient(at, heads), first = row * from.item + remainder(at, heads) * from.head;
    if (item_of_row[row] >= 0) continue;
    QF_ROLLED
    for (int64_t i = threadIdx.x; i < dims * states; i += kStepThreads)
      to[at * dims * states + i] = from.at[first + quotient(i, states) * from.dim + remainder(i, states) * from.state];
  }
}

// One dim of one head of one item. A row used by two items raises an error on the host; on the device it belongs to the first of them.
template <class T>
struct StepDim {
  const StateStep<T>& p;
  int64_t item, head, dim, group, row;  // row: row of the states; negative for padding
  bool has_row;
  T raw, delta, x, D;

  __device__ StepDim(const StateStep<T>& p, int64_t item, int64_t head, int64_t dim, int64_t group)
      : p(p), item(item), head(head), dim(dim), group(group), row(p.row_of_item ? p.row_of_item[item] : item) {
    has_row = row >= 0 && row < p.rows && (!p.row_of_item || p.item_of_row[row] == item);
    raw = number(p.dt) + number(p.bias), x = number(p.x), D = number(p.D);
    delta = p.softplus ? elementary::softplus(raw, elementary::softplus_tail(raw)) : raw;
  }
  __device__ T number(const Grid<const T>& g) const { return g.at ? g.at[item * g.item + head * g.head + dim * g.dim] : T(0); }
  __device__ T mixing(const Grid<const T>& m, int64_t n) const { return m.at[item * m.item + group * m.head + n * m.state]; }
  __device__ T A(int64_t n) const { return p.A.at[head * p.A.head + dim * p.A.dim + n * p.A.state]; }
  __device__ T state(int64_t n) const {
    return p.state.at[row * p.state.item + head * p.state.head + dim * p.state.dim + n * p.state.state];
  }
  __device__ int64_t index() const { return (item * p.heads + head) * p.dims + dim; }                    // index in x, out, ...
  __device__ int64_t first_state() const { return ((row * p.heads + head) * p.dims + dim) * p.states; }  // in contiguous states
};

// Computes one step (15). Reads and writes each state once.
template <class T>
__global__ void __launch_bounds__(kStepThreads, 1) step_states(const StateStep<T> p, const int lanes, const int64_t group_heads) {
  const int64_t count = p.items * p.heads * p.dims, per_block = kStepThreads / lanes;
  const int lane = int(threadIdx.x) % lanes;
  QF_ROLLED
  for (int64_t first = blockIdx.x * per_block; first < count; first += gridDim.x * per_block) {
    const int64_t at = first + threadIdx.x / lanes, clamped = min(at, count - 1);
    const int64_t row = quotient(clamped, p.dims), head = remainder(row, p.heads);
    const StepDim<T> me(p, quotient(row, p.heads), head, remainder(clamped, p.dims), quotient(head, group_heads));
    T y(0);
    QF_ROLLED
    for (int64_t n = lane; me.has_row && at < count && n < p.states; n += lanes) {
      const T state = scan::step(decay(me.delta, decay_rate(me.A(n))), me.state(n), me.delta * me.x * me.mixing(p.B, n));
      p.next[me.first_state() + n] = state;
      y = multiply_add(me.mixing(p.C, n), state, y);
    }
    y = multiply_add(me.D, me.x, sum_of_group(y, lanes));
    if (p.z.at) y *= silu(me.number(p.z));
    if (at < count && lane == 0) p.out[at] = me.has_row ? y : me.row < 0 ? T(0) : T(__builtin_nan(""));
  }
}

// Checks the sizes. Computes item_of_row on the device, if rows are chosen by index.
template <class T>
void find_rows(StateStep<T>& p, int64_t* item_of_row) {
  if (p.items * p.heads * p.dims >= kTooMany || p.dims * p.states >= kTooMany)
    throw DeviceError("selective_state_update: 2^31 or more dims, or states per head, are too many for a GPU kernel");
  if (!p.indexed) return;
  p.item_of_row = item_of_row;
  set_bytes(item_of_row, p.rows, 0xff);
  launch(find_items, (p.items + kStepThreads - 1) / kStepThreads, kStepThreads, 0, p.rows, p.items, p.row_of_item, item_of_row);
}
template <class T>
void copy_other_rows(const StateStep<T>& p, const Grid<const T>& from, T* to) {
  const int64_t count = p.rows * p.heads;
  if (p.indexed) launch(copy_rows<T>, count, kStepThreads, 0, count, p.heads, p.dims, p.states, p.item_of_row, from, to);
}

template <class T>
void state_step(const StateStep<T>& args) {
  StateStep<T> p = args;
  const Workspace<int64_t> item_of_row(p.indexed ? p.rows : 0);
  find_rows<T>(p, item_of_row);
  if (p.next != p.state.at) copy_other_rows(p, p.state, p.next);
  const int lanes = lanes_of_states(p.states);
  launch(step_states<T>, (p.items * p.heads * p.dims * lanes + kStepThreads - 1) / kStepThreads, kStepThreads, 0, p, lanes,
         p.heads / p.groups);
}

// Additional data of a dim in the backward pass: g, the gradient before the gate; and the terms of (16) for its state n.
template <class T>
struct StepDimAdjoint : StepDim<T> {
  const StateStepAdjoint<T>& q;
  T grad, z, g;

  __device__ StepDimAdjoint(const StateStepAdjoint<T>& q, int64_t item, int64_t head, int64_t dim, int64_t group)
      : StepDim<T>(q.forward, item, head, dim, group), q(q), grad(this->number(q.grad)), z(this->number(q.forward.z)) {
    g = q.forward.z.at ? grad * silu(z) : grad;
  }
  struct Terms {
    T A, B, C, a, decayed, x, mu;  // decayed: a times the state before the step; x: the state after it
  };
  __device__ Terms terms(int64_t n) const {
    const auto& f = q.forward;
    Terms t{this->A(n), this->mixing(f.B, n), this->mixing(f.C, n), T(0), T(0), T(0), T(0)};
    t.a = decay(this->delta, decay_rate(t.A));
    t.decayed = t.a * this->state(n);
    t.x = multiply_add(t.B, this->delta * this->x, t.decayed);
    t.mu = multiply_add(t.C, g, q.grad_next[this->first_state() + n]);
    return t;
  }
};

// Computes (16), (17) for one dim of a head in all items, in order; dA, dD and dbias are sums over the items. Reads states and their
// gradients once; writes dstate once; reads and writes dA once per item.
template <class T>
__global__ void __launch_bounds__(kStepThreads, 1)
    step_states_back(const StateStepAdjoint<T> q, const int lanes, const int64_t group_heads) {
  const auto& f = q.forward;
  const int64_t count = f.heads * f.dims, per_block = kStepThreads / lanes, N = f.states;
  const int lane = int(threadIdx.x) % lanes;
  QF_ROLLED
  for (int64_t first = blockIdx.x * per_block; first < count; first += gridDim.x * per_block) {
    const int64_t at = first + threadIdx.x / lanes, clamped = min(at, count - 1);
    const int64_t head = quotient(clamped, f.dims), dim = remainder(clamped, f.dims), group = quotient(head, group_heads);
    const bool in_range = at < count, writes = in_range && lane == 0;
    T* const dA = q.dA + clamped * N;
    QF_ROLLED
    for (int64_t n = lane; in_range && n < N; n += lanes) dA[n] = T(0);
    T dD(0), dbias(0);
    QF_ROLLED
    for (int64_t item = 0; item < f.items; ++item) {
      const StepDimAdjoint<T> me(q, item, head, dim, group);
      T y(0), along_A(0), along_B(0);
      QF_ROLLED
      for (int64_t n = lane; in_range && me.has_row && n < N; n += lanes) {
        const auto t = me.terms(n);
        const T to_exponent = t.mu * t.decayed;
        y = multiply_add(t.C, t.x, y), along_A = multiply_add(t.A, to_exponent, along_A), along_B = multiply_add(t.B, t.mu, along_B);
        dA[n] = multiply_add(me.delta, to_exponent, dA[n]);
        q.dstate[me.first_state() + n] = t.a * t.mu;
      }
      y = sum_of_group(y, lanes), along_A = sum_of_group(along_A, lanes), along_B = sum_of_group(along_B, lanes);
      T ddelta = multiply_add(me.x, along_B, along_A);
      if (f.softplus) ddelta *= elementary::sigmoid(me.raw);
      if (me.has_row) dD = multiply_add(me.g, me.x, dD), dbias += ddelta;
      if (!writes) continue;
      const int64_t to = me.index();
      q.ddt[to] = me.has_row ? ddelta : T(0);
      q.dx[to] = me.has_row ? multiply_add(me.delta, along_B, me.D * me.g) : T(0);
      if (q.dz) q.dz[to] = me.has_row ? me.grad * silu_slope(me.z) * multiply_add(me.D, me.x, y) : T(0);
    }
    if (writes && q.dD) q.dD[at] = dD;
    if (writes && q.dbias) q.dbias[at] = dbias;
  }
}

// Computes (18). One thread block per range of states of one group of one item. Threads process the group's dims in turn, and their sums
// are added in the order of the threads.
template <class T>
__global__ void __launch_bounds__(kStepThreads, 1)
    step_mixing_back(const StateStepAdjoint<T> q, const int lanes, const int64_t group_heads, const int64_t blocks) {
  QF_SHARED(T, sums);  // per thread: dB, dC
  const auto& f = q.forward;
  const int lane = int(threadIdx.x) % lanes, rank = int(threadIdx.x) / lanes, ranks = kStepThreads / lanes;
  for (int64_t at = blockIdx.x; at < f.items * f.groups * blocks; at += gridDim.x) {
    const int64_t row = quotient(at, blocks), item = quotient(row, f.groups), group = remainder(row, f.groups);
    const int64_t n = remainder(at, blocks) * lanes + lane;
    T dB(0), dC(0);
    QF_ROLLED
    for (int64_t i = rank; n < f.states && i < group_heads * f.dims; i += ranks) {
      const StepDimAdjoint<T> me(q, item, group * group_heads + quotient(i, f.dims), remainder(i, f.dims), group);
      if (!me.has_row) break;
      const auto t = me.terms(n);
      dB = multiply_add(t.mu, me.delta * me.x, dB), dC = multiply_add(t.x, me.g, dC);
    }
    sums[threadIdx.x] = dB, sums[kStepThreads + threadIdx.x] = dC;
    __syncthreads();
    if (rank == 0 && n < f.states) {
      QF_ROLLED
      for (int k = 1; k < ranks; ++k) dB += sums[k * lanes + lane], dC += sums[kStepThreads + k * lanes + lane];
      const int64_t to = (item * f.groups + group) * f.states + n;
      q.dB[to] = dB, q.dC[to] = dC;
    }
    __syncthreads();
  }
}

template <class T>
void state_step_adjoint(const StateStepAdjoint<T>& args) {
  StateStepAdjoint<T> q = args;
  StateStep<T>& f = q.forward;
  const Workspace<int64_t> item_of_row(f.indexed ? f.rows : 0);
  find_rows<T>(f, item_of_row);
  copy_other_rows(f, {q.grad_next, f.heads * f.dims * f.states, f.dims * f.states, f.states, 1}, q.dstate);
  const int lanes = lanes_of_states(f.states);
  const int64_t blocks = (f.states + lanes - 1) / lanes, group_heads = f.heads / f.groups;
  launch(step_states_back<T>, (f.heads * f.dims * lanes + kStepThreads - 1) / kStepThreads, kStepThreads, 0, q, lanes, group_heads);
  launch(step_mixing_back<T>, f.items * f.groups * blocks, kStepThreads, 2 * kStepThreads * sizeof(T), q, lanes, group_heads, blocks);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::selective
