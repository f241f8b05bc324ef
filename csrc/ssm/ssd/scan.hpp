// The scan, chunk by chunk: what steps of a chunk do to each other by a triangle, what came before by one state.
#pragma once
#include "core/run/cost.hpp"
#include "ssm/ssd/steps.hpp"

namespace quatrefoil::ssm::ssd {
inline namespace QF_ISA {

// One head of one item, going forward.
template <class T>
class HeadScan {
 public:
  HeadScan(const ChunkScan<T>& p, const Inner<T>& inner)
      : p_(p),
        inner_(inner),
        room_(inner.room()),
        memory_(room_ * (Steps<T>::kArrays + 2 * room_ + 2 * p.channels) + p.states * p.channels + inner.workspace()),
        steps_(memory_, room_),
        triangle_(memory_ + room_ * Steps<T>::kArrays),
        own_(triangle_ + room_ * room_),
        x_(own_ + room_ * room_),
        y_(x_ + room_ * p.channels),
        state_(y_ + room_ * p.channels),
        turned_(state_ + p.states * p.channels) {}

  // Reads x, dt and z once and writes out once; of the states there is one, which goes in and out of L2 once a chunk.
  void run(int64_t item, int64_t head, const Chunks<T>& chunks) {
    const int64_t group = head / (p_.heads / p_.groups), of_head = p_.channels * p_.states;
    bool has_state = p_.initial != nullptr;
    if (has_state)
      transpose_into(p_.channels, p_.states, in_rows(p_.initial + (item * p_.heads + head) * of_head, p_.channels, p_.states), state());
    for (const Chunk *c = chunks.begin(item), *end = chunks.end(item); c < end; ++c) {
      check_interrupt(chunk_ns(*c));
      if (c->fresh && c->begin > 0) has_state = false;
      steps_.prepare(p_, item, head, *c);
      scaled_rows(p_.x, item, head, *c, steps_.dt, p_.channels, in_tiles(x_, c->steps));
      fetch_rows(p_.out + ((item * p_.length + c->begin) * p_.heads + head) * p_.channels, p_.heads * p_.channels, *c, p_.channels);
      if (c + 1 < end)
        for (const Signal<T>* next : {&p_.x, &p_.z}) fetch_rows(*next, item, head, c[1], p_.channels);
      output(item, head, group, *c, has_state);
      const bool ends = p_.varlen && c->sequence >= 0;
      if (!c->followed && !ends && !(p_.final && c + 1 == end)) continue;
      advance(item, group, *c, has_state);
      has_state = true;
      if (ends) put(p_.varlen + (c->sequence * p_.heads + head) * of_head);
    }
    if (!p_.final) return;
    T* const final = p_.final + (item * p_.heads + head) * of_head;
    has_state ? put(final) : set_zero(final, of_head);
  }

 private:
  Matrix<T> state() const { return in_tiles<T>(state_, p_.states); }  // (states, channels)
  void put(T* to) const { transpose_into(p_.states, p_.channels, state(), in_rows(to, p_.channels, p_.states)); }
  int64_t row(int64_t item, int64_t group, int64_t time) const { return ((item * p_.length + time) * p_.groups + group) * p_.states; }
  double chunk_ns(const Chunk& c) const {
    return double(c.steps) * double(p_.channels) * double(2 * p_.states + c.steps / 2) * kMultiplyAddNs<T>;
  }

  // (5) and the gate (6).
  void output(int64_t item, int64_t head, int64_t group, const Chunk& c, bool has_state) {
    using V = Lanes<T>;
    constexpr int W = kLanes<T>;
    const int64_t P = p_.channels;
    const Matrix<T> y = in_rows(y_, c.steps, P);
    if (has_state) {
      multiply<Left::rows>(c.steps, p_.C + row(item, group, c.begin), p_.groups * p_.states, state(), P, y, false);
      scale_rows(c.steps, steps_.from_start, P, in_rows<const T>(y_, c.steps, P), y);
    } else {
      set_zero(y_, c.steps * P);
    }
    const T* const inner = inner_.of(item, group, c, turned_, own_);
    for (int64_t i = 0; i < c.steps; ++i)
      steps_.decays_to(i, [&](int64_t j, V d) { store(triangle_ + i * room_ + j, V(load<V>(inner + i * room_ + j) * d)); });
    add_lower<Left::rows>(c.steps, triangle_, room_, in_tiles(x_, c.steps), P, y);
    for (int64_t i = 0; i < c.steps; ++i) {
      T* const to = p_.out + ((item * p_.length + c.begin + i) * p_.heads + head) * P;
      const T *x = row_of(p_.x, item, c.begin + i, head), *z = p_.z.at ? row_of(p_.z, item, c.begin + i, head) : nullptr;
      for (int64_t k = 0; k < P; k += W) {
        V v = load_first<V>(y_ + i * P + k, P - k);
        if (p_.D) v = multiply_add(skip_of<V>(p_, head, k), lanes_of<V>(x, p_.x.channel, k, P), v);
        if (z) v = v * mamba::silu(lanes_of<V>(z, p_.z.channel, k, P));
        store_first(to + k, v, P - k);
      }
    }
  }

  // (7)
  void advance(int64_t item, int64_t group, const Chunk& c, bool has_state) {
    const Matrix<T> x = in_tiles(x_, c.steps);
    scale_rows(c.steps, steps_.to_end, p_.channels, Matrix<const T>{x.at, x.rows, x.stride}, x);
    if (has_state) scale_all(p_.states * p_.channels, steps_.all, state_);
    multiply<Left::columns>(p_.states, p_.B + row(item, group, c.begin), p_.groups * p_.states, x, p_.channels, state(), has_state);
  }

  const ChunkScan<T>& p_;
  const Inner<T>& inner_;
  int64_t room_;
  Scratch<T> memory_;
  Steps<T> steps_;
  T *triangle_, *own_, *x_, *y_, *state_, *turned_;
};

template <class T>
double head_ns(const ChunkScan<T>& p) {
  return double(p.length) * double(p.channels) * double(2 * p.states + p.steps / 2) * kMultiplyAddNs<T>;
}

template <class T>
void chunk_scan(const ChunkScan<T>& given) {
  ChunkScan<T> p = given;
  p.steps = chunk_steps(p);
  if (p.varlen) set_zero(p.varlen, p.sequences * p.heads * p.channels * p.states);  // that of a sequence of no steps
  if (p.items * p.heads == 0) return;
  const Chunks<T> chunks(p);
  const Inner<T> inner(p, chunks);
  parallel_for(p.items * p.heads, p.threads, head_ns(p), [&](int64_t at, int64_t end) {
    HeadScan<T> head(p, inner);
    for (; at < end; ++at) head.run(at / p.heads, at % p.heads, chunks);
  });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::ssd
