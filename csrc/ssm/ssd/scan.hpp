// The scan, chunk by chunk. A triangular matrix describes the interactions within a chunk; one state carries everything before it.
#pragma once
#include "core/run/cost.hpp"
#include "ssm/ssd/steps.hpp"

namespace quatrefoil::ssm::ssd {
inline namespace QF_ISA {

constexpr int64_t kMaxStepsForward = 32;  // per chunk; halves the triangle, but reads and writes the state twice as often

// The forward pass of one head of one item.
template <class T>
class HeadScan {
 public:
  HeadScan(const ChunkScan<T>& p, const InnerProducts<T>& inner)
      : p_(p),
        inner_(inner),
        padded_(inner.padded()),
        memory_(Steps<T>::size(padded_) + padded_ * (1 + 2 * padded_ + p.channels) + p.states * p.channels + inner.workspace()),
        steps_(memory_, padded_),
        weights_(memory_ + Steps<T>::size(padded_)),
        triangle_(weights_ + padded_),
        own_(triangle_ + padded_ * padded_),
        x_(own_ + padded_ * padded_),
        state_(x_ + padded_ * p.channels),
        transposed_(state_ + p.states * p.channels) {}

  // Reads x, dt and z once; writes out once. Only the current state is stored; each chunk reads it twice and writes it once, in L1 or L2.
  void run(int64_t item, int64_t head, const Chunks<T>& chunks) {
    const int64_t group = head / (p_.heads / p_.groups), state_size = p_.channels * p_.states;
    bool has_state = p_.initial != nullptr;
    if (has_state)
      transpose_into(p_.channels, p_.states, in_rows(p_.initial + (item * p_.heads + head) * state_size, p_.channels, p_.states), state());
    for (const Chunk *c = chunks.begin(item), *end = chunks.end(item); c < end; ++c) {
      check_interrupt(chunk_ns(*c));
      if (c->fresh && c->begin > 0) has_state = false;
      steps_.prepare(p_, item, head, *c);
      scaled_rows<T>(p_.x, item, head, *c, nullptr, p_.channels, in_tiles(x_, c->steps));
      output(item, head, group, *c, c + 1 < end ? c + 1 : nullptr, has_state);
      const bool ends = p_.varlen && c->sequence >= 0;
      if (!c->followed && !ends && !(p_.final && c + 1 == end)) continue;
      advance(item, group, *c, has_state);
      has_state = true;
      if (ends) put(p_.varlen + (c->sequence * p_.heads + head) * state_size);
    }
    if (!p_.final) return;
    T* const final = p_.final + (item * p_.heads + head) * state_size;
    has_state ? put(final) : set_zero(final, state_size);
  }

 private:
  Matrix<T> state() const { return in_tiles<T>(state_, p_.states); }  // (states, channels)
  void put(T* to) const { transpose_into(p_.states, p_.channels, state(), in_rows(to, p_.channels, p_.states)); }
  int64_t row(int64_t item, int64_t group, int64_t time) const { return ((item * p_.length + time) * p_.groups + group) * p_.states; }
  double chunk_ns(const Chunk& c) const {
    return double(c.steps) * double(p_.channels) * double(2 * p_.states + c.steps / 2) * kMultiplyAddNs<T>;
  }

  // (5) The triangular matrix from x to y. It includes the step sizes, and D if it has one value per head, so that neither needs a separate
  // pass over x.
  void make_triangle(const T* inner, int64_t head, const Chunk& c) {
    using V = Lanes<T>;
    for (int64_t i = 0; i < c.steps; ++i) {
      T* const to = triangle_ + i * padded_;
      steps_.decays_to(i, [&](int64_t j, V d) { store(to + j, V(load<V>(inner + i * padded_ + j) * (d * load<V>(steps_.dt + j)))); });
      if (p_.D && !p_.D_of_channels) to[i] += p_.D[head];
    }
  }

  // (5) and the gate (6). Prefetches the inputs of the next chunk and the outputs of this one, because the hardware prefetcher does not
  // follow rows this far apart.
  void output(int64_t item, int64_t head, int64_t group, const Chunk& c, const Chunk* next, bool has_state) {
    make_triangle(inner_.triangle(item, group, c, transposed_, own_), head, c);
    const int64_t P = p_.channels, N = p_.states, stride = p_.groups * N;
    const T* const C = p_.C + row(item, group, c.begin);
    const Matrix<T> x = in_tiles(x_, c.steps);
    for_tiles<T>(c.steps, P, [&](auto& sums, int64_t i, auto columns, int64_t j) __attribute__((always_inline)) {
      using V = typename decltype(columns)::Vector;
      T* const to = p_.out + ((item * p_.length + c.begin + i) * p_.heads + head) * P + j;
      sums.fetch_for(to, p_.heads * P);
      for (int r = 0; next && r < sums.rows && i + r < next->steps; ++r)
        for (const Signal<T>* s : {&p_.x, &p_.z}) fetch_row(*s, item, head, next->begin + i + r, j, columns.count);
      if (has_state) {
        sums.template add<Left::rows>(N, C + i * stride, stride, state().column(columns, j), state().step(columns));
        sums.scale_rows(steps_.from_start + i);
      }
      add_lower<Left::rows>(sums, i, c.steps, triangle_, padded_, x.column(columns, j), x.step(columns));
      sums.put(to, p_.heads * P);
      if (!gates()) return;
      for (int r = 0; r < sums.rows; ++r)
        for (int v = 0; v < columns.count; v += sums.W) gate<V>(item, head, c.begin + i + r, j + v, to + r * p_.heads * P + v);
    });
  }

  bool gates() const { return p_.z.at || (p_.D && p_.D_of_channels); }
  // Applies D, if it has one value per channel, and then the gate (6) to the outputs just written.
  template <class V>
  void gate(int64_t item, int64_t head, int64_t time, int64_t channel, T* to) const {
    V y = load<V>(to);
    if (p_.D && p_.D_of_channels)
      y = multiply_add(skip_of<V>(p_, head, channel), load_channels<V>(row_of(p_.x, item, time, head), p_.x.channel, channel), y);
    if (p_.z.at) y = y * selective::silu(load_channels<V>(row_of(p_.z, item, time, head), p_.z.channel, channel));
    store(to, y);
  }

  // (7)
  void advance(int64_t item, int64_t group, const Chunk& c, bool has_state) {
    const Matrix<T> x = in_tiles(x_, c.steps);
    const int64_t stride = p_.groups * p_.states;
    const T* const B = p_.B + row(item, group, c.begin);
    for (int64_t i = 0; i < c.steps; ++i) weights_[i] = steps_.to_end[i] * steps_.dt[i];
    scale_rows(c.steps, weights_, p_.channels, Matrix<const T>{x.at, x.rows, x.stride}, x);
    for_tiles<T>(p_.states, p_.channels, [&](auto& sums, int64_t i, auto columns, int64_t j) __attribute__((always_inline)) {
      const int64_t step = state().step(columns);
      T* const h = state().column(columns, j) + i * step;
      sums.template add<Left::columns>(c.steps, B + i, stride, x.column(columns, j), x.step(columns));
      has_state ? sums.put_with(steps_.all, h, h, step) : sums.put(h, step);
    });
  }

  const ChunkScan<T>& p_;
  const InnerProducts<T>& inner_;
  int64_t padded_;
  Scratch<T> memory_;
  Steps<T> steps_;
  T *weights_, *triangle_, *own_, *x_, *state_, *transposed_;
};

template <class T>
double head_ns(const ChunkScan<T>& p) {
  return double(p.length) * double(p.channels) * double(2 * p.states + p.steps / 2) * kMultiplyAddNs<T>;
}

template <class T>
void chunk_scan(const ChunkScan<T>& args) {
  ChunkScan<T> p = args;
  p.steps = min(chunk_steps(p), kMaxStepsForward);
  if (p.varlen) set_zero(p.varlen, p.sequences * p.heads * p.channels * p.states);  // for sequences without steps
  if (p.items * p.heads == 0) return;
  const Chunks<T> chunks(p);
  const InnerProducts<T> inner(p, chunks);
  parallel_for(p.items * p.heads, p.threads, head_ns(p), [&](int64_t at, int64_t end) {
    HeadScan<T> head(p, inner);
    for (; at < end; ++at) head.run(at / p.heads, at % p.heads, chunks);
  });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::ssd
