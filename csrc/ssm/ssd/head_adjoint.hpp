// The gradient of some heads of one item, from the last chunk to the first. The states before all chunks are recomputed and stored.
#pragma once
#include "core/run/partial_sums.hpp"
#include "ssm/ssd/scan.hpp"

namespace quatrefoil::ssm::ssd {
inline namespace QF_ISA {

constexpr int64_t kHeadsTogether = 3;  // heads that process each chunk in turn; all but the first read the shared arrays from L2
constexpr double kAdjointCost = 2.7;   // relative to the forward scan

// The sums over items, and over the heads of a group, to which a task adds. `inner`: dS (9), the triangles of all chunks.
template <class T>
struct Totals {
  PartialSums<T> dA, dD, ddt_bias, dB, dC, inner;
};

template <class T>
class HeadAdjoint {
 public:
  HeadAdjoint(const ChunkScanAdjoint<T>& p, const ChunkScan<T>& forward, const InnerProducts<T>& inner, int64_t chunks)
      : p_(p),
        f_(forward),
        inner_(inner),
        padded_(inner.padded()),
        P_(forward.channels),
        N_(forward.states),
        stride_(forward.groups * N_),
        chunks_(max<int64_t>(chunks, 1)),
        numbers_(Steps<T>::size(padded_) + padded_ * (4 + 3 * kLanes<T>)+3 * padded_ * padded_ + inner.workspace() + 6 * padded_ * P_ + P_),
        states_(N_ * P_ * (2 + kHeadsTogether * (chunks_ + 1))),
        steps_(numbers_, padded_) {
    T* at = numbers_ + Steps<T>::size(padded_);
    const auto take = [&](int64_t n) {
      T* const block = at;
      at += n;
      return block;
    };
    across_ = take(padded_), in_ = take(padded_), out_ = take(padded_), along_ = take(padded_);
    for (T** lanes : {&in_lanes_, &out_lanes_, &along_lanes_}) *lanes = take(padded_ * kLanes<T>);
    triangle_ = take(padded_ * padded_), gradient_ = take(padded_ * padded_), own_ = take(padded_ * padded_),
    transposed_ = take(inner.workspace());
    for (T** m : {&x_, &x_to_end_, &x_transposed_, &g_, &g_from_start_, &y_}) *m = take(padded_ * P_);
    skip_ = take(P_);
    dstate_ = states_, state_ = dstate_ + N_ * P_;
  }

  void begin(int64_t item, int64_t group, T* dB, T* dC, T* inner_gradient) {
    item_ = item, group_ = group, dB_ = dB, dC_ = dC, inner_gradient_ = inner_gradient, first_ = true;
  }

  // Processes at most kHeadsTogether heads from `head` on. From memory, reads x, dt and B twice, C, z and the gradient once; writes dx, ddt
  // and dz once. The first head of a task writes dB, dC and the gradient of the inner products; the others add to them.
  void run(int64_t head, int64_t count, const Chunks<T>& chunks, const Totals<T>& totals) {
    const bool first = first_;
    for (int64_t i = 0; i < count; ++i) {
      take_head(head, i);
      keep_states(chunks);
      carry_ = {};
      if (T* const to = dD_channels(totals)) set_zero(to, P_);
      if (p_.grad_final) take_gradient(p_.grad_final + head_offset(item_));
      heads_[i] = carry_;
    }
    for (int64_t k = chunks.count(item_) - 1; k >= 0; --k)
      for (int64_t i = 0; i < count; ++i) {
        take_head(head, i);
        carry_ = heads_[i], first_ = first && i == 0;
        const bool same = i + 1 < count;  // whether another head processes this chunk next
        next_ = same ? &chunks.begin(item_)[k] : k > 0 ? &chunks.begin(item_)[k - 1] : nullptr, next_head_ = head + (same ? i + 1 : 0);
        go_back(chunks, k, dD_channels(totals));
        heads_[i] = carry_;
      }
    for (int64_t i = 0; i < count; ++i) {
      take_head(head, i);
      if (p_.dinitial) put_initial(heads_[i].reaches);
      totals.dA.part(item_)[head_] = heads_[i].dA;
      if (totals.ddt_bias) totals.ddt_bias.part(item_)[head_] = heads_[i].dbias;
      if (totals.dD && !f_.D_of_channels) totals.dD.part(item_)[head_] = heads_[i].dD;
    }
    first_ = false;
  }

 private:
  struct HeadCarry {
    bool reaches;  // whether there is a gradient of the state after the chunk
    T dA, dbias, dD;
  };
  void take_head(int64_t head, int64_t i) {
    head_ = head + i;
    dstate_transposed_ = states_ + (2 + i * (chunks_ + 1)) * N_ * P_, all_states_ = dstate_transposed_ + N_ * P_;
  }
  T* dD_channels(const Totals<T>& totals) const { return f_.D_of_channels && totals.dD ? totals.dD.part(item_) + head_ * P_ : nullptr; }
  // Processes one chunk of one head.
  void go_back(const Chunks<T>& chunks, int64_t k, T* dD_channels) {
    const Chunk& c = chunks.begin(item_)[k];
    check_interrupt(double(c.steps) / double(f_.length) * head_ns(f_) * kAdjointCost);
    if (k + 1 < chunks.count(item_) && !c.followed) carry_.reaches = false;
    if (p_.grad_varlen && c.sequence >= 0) take_gradient(p_.grad_varlen + (c.sequence * f_.heads + head_) * N_ * P_);
    const T* const state = takes_state(c) ? all_states_ + k * N_ * P_ : nullptr;
    prepare(c, dD_channels);
    triangles(c);
    if (p_.dz) gate(c, state);
    inputs(c, state);
    const T carry = outputs(c, state);
    decay_gradient_.store(c.steps, out_, in_, double(carry), across_, 1);  // (12)
    finish(c);
    carry_.reaches = state != nullptr;
  }
  bool takes_state(const Chunk& c) const { return !c.fresh || (c.begin == 0 && f_.initial); }
  int64_t head_offset(int64_t item) const { return (item * f_.heads + head_) * N_ * P_; }
  int64_t in_item(int64_t time) const { return (item_ * f_.length + time) * f_.heads + head_; }
  // The rows of a chunk: of B or C, of their gradients, and of matrices with one row per step and one column per channel.
  Matrix<const T> rows(const T* m, const Chunk& c) const {
    return in_rows(m + (item_ * f_.length + c.begin) * stride_ + group_ * N_, c.steps, stride_);
  }
  Matrix<T> rows(T* part, const Chunk& c) const { return in_rows(part + c.begin * stride_ + group_ * N_, c.steps, stride_); }
  Matrix<T> with_steps(T* m, const Chunk& c) const { return in_rows(m, c.steps, P_); }
  Matrix<const T> input_rows(const T* m, const Chunk& c) const { return in_rows(m, c.steps, P_); }

  void keep_states(const Chunks<T>& chunks) {
    if (f_.initial) copy_matrix(P_, N_, in_rows(f_.initial + head_offset(item_), P_, N_), in_tiles(all_states_, P_));
    const Chunk* c = chunks.begin(item_);
    for (int64_t k = 0; k + 1 < chunks.count(item_); ++k, ++c) {
      if (!c->followed) continue;
      check_interrupt(double(c->steps * N_ * P_) * kMultiplyAddNs<T>);
      T *const state = all_states_ + k * N_ * P_, *const next = state + N_ * P_;
      steps_.prepare(f_, item_, head_, *c);
      scaled_rows(f_.x, item_, head_, *c, steps_.dt, P_, with_steps(x_, *c));
      scale_rows(c->steps, steps_.to_end, P_, input_rows(x_, *c), with_steps(x_to_end_, *c));
      fetch_rows(f_.x, item_, head_, c[1], P_);
      const bool has_state = takes_state(*c);
      const T* const B = rows(f_.B, *c).at;
      for_tiles<T>(P_, N_, [&](auto& sums, int64_t i, auto columns, int64_t j) __attribute__((always_inline)) {
        const int64_t at = states_at(columns, i, j);
        sums.fetch_for(next + at, columns.count);
        sums.template add<Left::columns>(c->steps, x_to_end_ + i, P_, B + j, stride_);
        has_state ? sums.put_with(steps_.all, state + at, next + at, columns.count) : sums.put(next + at, columns.count);
      });
    }
  }
  // The offset of row i of a column of tiles in a transposed state.
  template <class C>
  int64_t states_at(C columns, int64_t i, int64_t j) const {
    return j * P_ + i * columns.count;
  }
  void take_gradient(const T* from) {
    T* const to = carry_.reaches ? state_ : dstate_transposed_;
    copy_matrix(P_, N_, in_rows(from, P_, N_), in_tiles(to, P_));
    if (carry_.reaches)
      for (int64_t i = 0; i < N_ * P_; ++i) dstate_transposed_[i] += state_[i];
    carry_.reaches = true;
  }
  void put_initial(bool reaches) const {
    T* const to = p_.dinitial + head_offset(item_);
    reaches ? copy_matrix(P_, N_, in_tiles<const T>(dstate_transposed_, P_), in_rows(to, P_, N_)) : set_zero(to, N_ * P_);
  }

  // Computes the inputs times the step sizes and the gradient before the gate (8), both also multiplied by their decays, and dD (14).
  void prepare(const Chunk& c, T* dD_channels) {
    using V = Lanes<T>;
    constexpr int W = kLanes<T>;
    steps_.prepare(f_, item_, head_, c);
    V from_D{};
    if (dD_channels) set_zero(skip_, P_);
    for (int64_t i = 0; i < c.steps; ++i) {
      const int64_t t = c.begin + i;
      const T *const from = row_of(p_.grad, item_, t, head_), *const xs = row_of(f_.x, item_, t, head_);
      const T* const z = p_.dz ? row_of(f_.z, item_, t, head_) : nullptr;
      for (int64_t k = 0; k < P_; k += W) {
        const V x = load_channels_padded<V>(xs, f_.x.channel, k, P_), u = x * broadcast<V>(steps_.dt[i]);
        V g = load_channels_padded<V>(from, p_.grad.channel, k, P_);
        if (z) g = g * selective::silu(load_channels_padded<V>(z, f_.z.channel, k, P_));
        const int64_t at = i * P_ + k, count = P_ - k;
        store_first(x_ + at, u, count), store_first(x_to_end_ + at, V(u * broadcast<V>(steps_.to_end[i])), count);
        store_first(g_ + at, g, count), store_first(g_from_start_ + at, V(g * broadcast<V>(steps_.from_start[i])), count);
        if (f_.D) from_D = multiply_add(x, g, from_D);
        if (dD_channels) store_first(skip_ + k, V(multiply_add(x, g, load_first<V>(skip_ + k, count))), count);
      }
    }
    carry_.dD += sum(from_D);
    if (dD_channels)
      for (int64_t k = 0; k < P_; ++k) dD_channels[k] += skip_[k];
  }

  // (9) The triangle, its gradient, the gradient of the inner products, and the terms that contain the decays.
  void triangles(const Chunk& c) {
    using V = Lanes<T>;
    const T* const inner = inner_.triangle(item_, group_, c, transposed_, own_);
    transpose_rows(c.steps, P_, x_, P_, x_transposed_, padded_);
    multiply_lower(c.steps, g_, P_, in_rows<const T>(x_transposed_, P_, padded_), gradient_, padded_);
    decay_gradient_.clear(), decay_gradient_.begin_matrix();
    for (int64_t i = c.steps - 1; i >= 0; --i) {
      T *const inner_gradient = inner_gradient_ + (c.begin + i) * padded_, *const weighted = triangle_ + i * padded_;
      const T* const e = gradient_ + i * padded_;
      steps_.decays_to(i, [&](int64_t j, V d) {
        const V to_inner = load<V>(e + j) * d;
        store(weighted + j, V(load<V>(inner + i * padded_ + j) * d));
        store(inner_gradient + j, first_ ? to_inner : V(load<V>(inner_gradient + j) + to_inner));
      });
      if (first_)
        for (int64_t j = round_up(i + 1, kLanes<T>); j < padded_; j += kLanes<T>) store(inner_gradient + j, V{});
      decay_gradient_.add_row(i, e, weighted);
    }
  }

  // (8) dz. Recomputes the output before the gate.
  void gate(const Chunk& c, const T* state) {
    using V = Lanes<T>;
    constexpr int W = kLanes<T>;
    if (state) {
      transpose_into(P_, N_, in_tiles(state, P_), in_tiles(state_, N_));
      multiply<Left::rows>(c.steps, rows(f_.C, c).at, stride_, in_tiles(state_, N_), P_, with_steps(y_, c), false);
      scale_rows(c.steps, steps_.from_start, P_, input_rows(y_, c), with_steps(y_, c));
    } else {
      set_zero(y_, c.steps * P_);
    }
    add_lower<Left::rows>(c.steps, triangle_, padded_, input_rows(x_, c), P_, with_steps(y_, c));
    for (int64_t i = 0; i < c.steps; ++i) {
      const int64_t t = c.begin + i;
      const T *x = row_of(f_.x, item_, t, head_), *z = row_of(f_.z, item_, t, head_), *g = row_of(p_.grad, item_, t, head_);
      for (int64_t k = 0; k < P_; k += W) {
        V y = load_first<V>(y_ + i * P_ + k, P_ - k);
        if (f_.D) y = multiply_add(skip_of<V>(f_, head_, k), load_channels_padded<V>(x, f_.x.channel, k, P_), y);
        const V slope = selective::silu_slope(load_channels_padded<V>(z, f_.z.channel, k, P_));
        store_first(p_.dz + in_item(t) * P_ + k, V(load_channels_padded<V>(g, p_.grad.channel, k, P_) * slope * y), P_ - k);
      }
    }
  }

  // (10), (11), (14) The gradient of the inputs, and of B from the state after the chunk. Prefetches the next rows.
  void inputs(const Chunk& c, const T* state) {
    const bool reaches = carry_.reaches;
    if (reaches) {
      transpose_into(P_, N_, in_tiles<const T>(dstate_transposed_, P_), in_tiles(dstate_, N_));
      const Matrix<T> m = in_tiles(dstate_transposed_, P_);
      for_tiles<T>(c.steps, N_, [&](auto& sums, int64_t i, auto columns, int64_t j) __attribute__((always_inline)) {
        T* const to = rows(dB_, c).at + i * stride_ + j;
        sums.fetch_for(to, stride_);
        sums.template add<Left::rows>(P_, x_to_end_ + i * P_, P_, m.column(columns, j), m.step(columns));
        first_ ? sums.put(to, stride_) : sums.add_to(to, stride_);
      });
    } else if (first_) {
      set_zero_rows(rows(dB_, c));
    }
    for (T* lanes : {in_lanes_, along_lanes_}) set_zero(lanes, padded_ * kLanes<T>);
    const Matrix<T> m = in_tiles(dstate_, N_);
    const T* const B = rows(f_.B, c).at;
    for_tiles<T>(c.steps, P_, [&](auto& sums, int64_t i, auto columns, int64_t j) __attribute__((always_inline)) {
      using V = typename decltype(columns)::Vector;
      const int64_t stride = f_.heads * P_;
      T* const to = p_.dx + in_item(c.begin + i) * P_ + j;
      sums.fetch_for(to, stride);
      if (state) fetch(state + (j * c.steps + i * columns.count) * N_ / c.steps, sums.rows * columns.count * N_ / c.steps);
      for (int r = 0; next_ && r < sums.rows && i + r < next_->steps; ++r)
        for (const Signal<T>* s : {&f_.x, &p_.grad, &f_.z}) fetch_row(*s, item_, next_head_, next_->begin + i + r, j, columns.count);
      const T* const x = x_ + i * P_ + j;
      if (reaches) {
        sums.template add<Left::rows>(N_, B + i * stride_, stride_, m.column(columns, j), m.step(columns));
        sums.scale_rows(steps_.to_end + i);
        sums.dot_rows(x, P_, in_lanes_ + i * kLanes<T>);
      }
      add_lower<Left::columns>(sums, i, c.steps, triangle_, padded_, g_ + j, P_);
      T* const lanes = along_lanes_ + i * kLanes<T>;
      const T *const xs = row_of(f_.x, item_, c.begin + i, head_), *const dt = steps_.dt + i, *const g = g_ + i * P_ + j;
      const int64_t time = f_.x.time, channel = f_.x.channel, width = P_;
      sums.each([&](int r, int v, V& du) __attribute__((always_inline)) {
        T* const to = lanes + r * kLanes<T>;
        store(to, V(multiply_add(du, load_channels<V>(xs + r * time, channel, j + v), load<V>(to))));
        du = du * broadcast<V>(dt[r]);
      });
      if (f_.D) {
        V skip[sums.vectors];
#pragma GCC unroll 3
        for (int v = 0; v < sums.vectors; ++v) skip[v] = skip_of<V>(f_, head_, j + v * sums.W);
        sums.each([&](int r, int v, V& dx)
                      __attribute__((always_inline)) { dx = multiply_add(skip[v / sums.W], load<V>(g + r * width + v), dx); });
      }
      sums.put(to, stride);
    });
    sum_lanes(padded_, in_lanes_, in_), sum_lanes(padded_, along_lanes_, along_);
  }

  // (11), (13) Computes the gradient of C from the state before the chunk, and replaces the gradient of the state after the chunk by that
  // of the state before it. Returns the term that contains all decays of the chunk.
  T outputs(const Chunk& c, const T* state) {
    const bool reaches = carry_.reaches;
    set_zero(out_lanes_, padded_ * kLanes<T>), set_zero(out_, padded_);
    if (!state && first_) set_zero_rows(rows(dC_, c));
    if (!state) return T(0);
    const Matrix<const T> h = in_tiles(state, P_);
    const T* const C = rows(f_.C, c).at;
    T* const dC = rows(dC_, c).at;
    for_tiles<T>(c.steps, N_, [&](auto& sums, int64_t i, auto columns, int64_t j) __attribute__((always_inline)) {
      T* const to = dC + i * stride_ + j;
      sums.fetch_for(to, stride_);
      sums.template add<Left::rows>(P_, g_from_start_ + i * P_, P_, h.column(columns, j), h.step(columns));
      sums.dot_rows(C + i * stride_ + j, stride_, out_lanes_ + i * kLanes<T>);
      first_ ? sums.put(to, stride_) : sums.add_to(to, stride_);
    });
    sum_lanes(padded_, out_lanes_, out_);
    T carried[kLanes<T>] = {};
    for_tiles<T>(P_, N_, [&](auto& sums, int64_t i, auto columns, int64_t j) __attribute__((always_inline)) {
      using V = typename decltype(columns)::Vector;
      T* const m = dstate_transposed_ + states_at(columns, i, j);
      const T* const before = state + states_at(columns, i, j);
      sums.template add<Left::columns>(c.steps, g_from_start_ + i, P_, C + j, stride_);
      if (!reaches) return sums.put(m, columns.count);
      V along = load<V>(carried);
      sums.each([&](int r, int v, V&) __attribute__((always_inline)) {
        along = multiply_add(load<V>(before + r * columns.count + v), load<V>(m + r * columns.count + v), along);
      });
      store(carried, along);
      sums.put_with(steps_.all, m, m, columns.count);
    });
    return reaches ? steps_.all * sum(load<Lanes<T>>(carried)) : T(0);
  }
  void set_zero_rows(Matrix<T> m) const {
    for (int64_t i = 0; i < m.rows; ++i) set_zero(m.at + i * m.stride, N_);
  }

  // (15)
  void finish(const Chunk& c) {
    T from_A{}, from_bias{};
    for (int64_t i = 0; i < c.steps; ++i) {
      T slope = f_.softplus ? elementary::sigmoid(steps_.raw[i]) : T(1);
      const T step = f_.softplus ? elementary::softplus(steps_.raw[i], elementary::softplus_tail(steps_.raw[i])) : steps_.raw[i];
      slope *= clip_slope(step, f_.dt_min, f_.dt_max);
      const T ddt = (along_[i] + f_.A[head_] * across_[i]) * slope;
      p_.ddt[in_item(c.begin + i)] = ddt;
      from_A += steps_.dt[i] * across_[i], from_bias += ddt;
    }
    carry_.dA += from_A, carry_.dbias += from_bias;
  }

  const ChunkScanAdjoint<T>& p_;
  const ChunkScan<T>& f_;
  const InnerProducts<T>& inner_;
  int64_t padded_, P_, N_, stride_, chunks_;
  Scratch<T> numbers_, states_;
  Steps<T> steps_;
  T *across_, *in_, *out_, *along_, *in_lanes_, *out_lanes_, *along_lanes_, *triangle_, *gradient_, *own_, *transposed_, *skip_;
  T *x_, *x_to_end_, *x_transposed_, *g_, *g_from_start_, *y_;                 // (steps, channels); x_transposed_ is the transpose of x_
  T *dstate_transposed_ = nullptr, *dstate_, *state_, *all_states_ = nullptr;  // transposed; all_states_: before every chunk
  int64_t item_ = 0, group_ = 0, head_ = 0, next_head_ = 0;
  const Chunk* next_ = nullptr;  // the chunk of next_head_ that is processed next
  T *dB_ = nullptr, *dC_ = nullptr, *inner_gradient_ = nullptr;
  bool first_ = true;
  HeadCarry carry_{}, heads_[kHeadsTogether];
  delta::DecayGradient<kMaxSteps> decay_gradient_;
};

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::ssd
