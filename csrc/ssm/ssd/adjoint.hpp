// The gradient of the scan: the states before all chunks of a head are computed again and kept; then the chunks, from the last to the
// first.
#pragma once
#include "core/run/partial_sums.hpp"
#include "ssm/ssd/scan.hpp"

namespace quatrefoil::ssm::ssd {
inline namespace QF_ISA {

constexpr int64_t kAdjointTasks = 32;  // wanted: heads are shared out by size, so that sums over them do not know of threads
constexpr double kAdjointCost = 2.7;   // times the forward scan

// Numbers 0, 1, 2, ... in lanes.
template <class V>
V lane_numbers() {
  V v{};
  for (int i = 0; i < kWidth<V>; ++i) v[i] = Element<V>(i);
  return v;
}

template <class T>
T dot(int64_t n, const T* a, const T* b) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>;
  V total[4] = {};  // an addition waits for the one before it
  int64_t i = 0;
  for (; i + 4 * W <= n; i += 4 * W)
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) total[k] = multiply_add(load<V>(a + i + k * W), load<V>(b + i + k * W), total[k]);
  for (; i < n; i += W) total[0] = multiply_add(load_first<V>(a + i, n - i), load_first<V>(b + i, n - i), total[0]);
  return sum(V((total[0] + total[1]) + (total[2] + total[3])));
}

// (12) to[t] = the sum of e_ij over j < t <= i, for the steps t of a chunk: what passes over the decay of step t. e is 0 above the
// diagonal.
template <class T>
void sums_across(int64_t n, const T* e, int64_t room, T* to) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>;
  const V lane = lane_numbers<V>();
  for (int64_t t = 0; t < room; t += W) store(to + t, V{});
  for (int64_t i = 0; i < n; i += W) {
    V before{};  // of row i + lane: the sum up to the column
    for (int64_t j = 0; j <= i; j += W) {
      V square[W];
      for (int k = 0; k < W; ++k) square[k] = i + k < n ? load<V>(e + (i + k) * room + j) : V{};
      transpose(square);
#pragma GCC unroll 16
      for (int k = 0; k < W; ++k) {
        const V next = before + square[k];
        square[k] = j == i ? V(lane < broadcast<V>(T(k)) ? V{} : before) : before;
        before = next;
      }
      store(to + j, V(load<V>(to + j) + sum_each(square)));
    }
  }
}

// The sums over items, and over the heads of a group, that a task adds to; `inner` are those of dS (9), triangles of all chunks.
template <class T>
struct Totals {
  PartialSums<T> dA, dD, ddt_bias, dB, dC, inner;
};

template <class T>
class HeadAdjoint {
 public:
  HeadAdjoint(const ChunkScanAdjoint<T>& p, const ChunkScan<T>& forward, const Inner<T>& inner, int64_t chunks)
      : p_(p),
        f_(forward),
        inner_(inner),
        room_(inner.room()),
        P_(forward.channels),
        N_(forward.states),
        stride_(forward.groups * N_),
        numbers_(room_ * (Steps<T>::kArrays + 3) + 3 * room_ * room_ + inner.workspace() + 7 * room_ * P_ + room_ * N_ + P_),
        states_(N_ * P_ * (3 + max<int64_t>(chunks, 1))),
        steps_(numbers_, room_) {
    T* at = numbers_ + room_ * Steps<T>::kArrays;
    const auto take = [&](int64_t n) {
      T* const taken = at;
      at += n;
      return taken;
    };
    across_ = take(room_), in_ = take(room_), out_ = take(room_);
    triangle_ = take(room_ * room_), gradient_ = take(room_ * room_), own_ = take(room_ * room_), turned_ = take(inner.workspace());
    for (T** m : {&x_, &x_to_end_, &x_turned_, &g_, &g_from_start_, &dx_, &y_}) *m = take(room_ * P_);
    row_ = take(room_ * N_), skip_ = take(P_);
    dstate_turned_ = states_, dstate_ = dstate_turned_ + N_ * P_, state_ = dstate_ + N_ * P_, kept_ = state_ + N_ * P_;
  }

  void begin(int64_t item, int64_t group, T* dB, T* dC, T* inner_gradient) {
    item_ = item, group_ = group, dB_ = dB, dC_ = dC, inner_gradient_ = inner_gradient;
    set_zero(inner_gradient, f_.length * room_);
    for (T* to : {dB, dC})
      for (int64_t t = 0; t < f_.length; ++t) set_zero(to + t * stride_ + group * N_, N_);
  }

  // Reads x, dt and B twice, C, z and the gradient once; writes dx, ddt and dz once.
  void run(int64_t head, const Chunks<T>& chunks, const Totals<T>& totals) {
    head_ = head;
    keep_states(chunks);
    T dA{}, dbias{}, dD{};
    T* const of_channels = f_.D_of_channels && totals.dD ? totals.dD.part(item_) + head * P_ : nullptr;
    if (of_channels) set_zero(of_channels, P_);
    const Chunk* const first = chunks.begin(item_);
    bool reaches = false;  // whether there is a gradient of the state after the chunk
    if (p_.grad_final) take_gradient(p_.grad_final + of_head(item_), reaches);
    for (int64_t k = chunks.of(item_) - 1; k >= 0; --k) {
      const Chunk& c = first[k];
      check_interrupt(double(c.steps) / double(f_.length) * head_ns(f_) * kAdjointCost);
      if (k + 1 < chunks.of(item_) && !c.followed) reaches = false;
      if (p_.grad_varlen && c.sequence >= 0) take_gradient(p_.grad_varlen + (c.sequence * f_.heads + head) * N_ * P_, reaches);
      const T* const state = takes_state(c) ? kept_ + k * N_ * P_ : nullptr;
      prepare(c);
      fetch_rows(p_.dx + in_item(c.begin) * P_, f_.heads * P_, c, P_);
      if (k > 0)
        for (const Signal<T>* next : {&f_.x, &p_.grad, &f_.z}) fetch_rows(*next, item_, head, first[k - 1], P_);
      triangles(c);
      if (p_.dz) gate(c, state);
      inputs(c, reaches);
      const T carry = outputs(c, state, reaches);
      along_decays(c, carry);
      finish(c, dA, dbias, dD, of_channels);
      reaches = reaches && state ? true : state != nullptr;
    }
    if (p_.dinitial) put_initial(reaches);
    totals.dA.part(item_)[head] = dA;
    if (totals.ddt_bias) totals.ddt_bias.part(item_)[head] = dbias;
    if (totals.dD && !f_.D_of_channels) totals.dD.part(item_)[head] = dD;
  }

 private:
  bool takes_state(const Chunk& c) const { return !c.fresh || (c.begin == 0 && f_.initial); }
  int64_t of_head(int64_t item) const { return (item * f_.heads + head_) * N_ * P_; }
  int64_t in_item(int64_t time) const { return (item_ * f_.length + time) * f_.heads + head_; }
  // The rows of a chunk of B and C, of their gradients, and of what has as many rows as channels.
  Matrix<const T> rows(const T* m, const Chunk& c) const {
    return in_rows(m + (item_ * f_.length + c.begin) * stride_ + group_ * N_, c.steps, stride_);
  }
  Matrix<T> rows(T* part, const Chunk& c) const { return in_rows(part + c.begin * stride_ + group_ * N_, c.steps, stride_); }
  Matrix<T> beside(T* m, const Chunk& c) const { return in_rows(m, c.steps, P_); }
  Matrix<const T> given(const T* m, const Chunk& c) const { return in_rows(m, c.steps, P_); }

  void keep_states(const Chunks<T>& chunks) {
    if (f_.initial) copy_matrix(P_, N_, in_rows(f_.initial + of_head(item_), P_, N_), in_tiles(kept_, P_));
    const Chunk* c = chunks.begin(item_);
    for (int64_t k = 0; k + 1 < chunks.of(item_); ++k, ++c) {
      if (!c->followed) continue;
      check_interrupt(double(c->steps * N_ * P_) * kMultiplyAddNs<T>);
      T *const state = kept_ + k * N_ * P_, *const next = state + N_ * P_;
      steps_.prepare(f_, item_, head_, *c);
      scaled_rows(f_.x, item_, head_, *c, steps_.dt, P_, beside(x_, *c));
      scale_rows(c->steps, steps_.to_end, P_, given(x_, *c), beside(x_to_end_, *c));
      fetch_rows(f_.x, item_, head_, c[1], P_);
      const bool has_state = takes_state(*c);
      if (has_state) scale_state(state, next);
      multiply<Left::columns>(P_, x_to_end_, P_, rows(f_.B, *c), N_, in_tiles(next, P_), has_state);
    }
  }
  void scale_state(const T* from, T* to) const {
    using V = Lanes<T>;
    constexpr int W = kLanes<T>;
    for (int64_t i = 0, n = N_ * P_; i < n; i += W)
      store_first(to + i, V(load_first<V>(from + i, n - i) * broadcast<V>(steps_.all)), n - i);
  }
  void take_gradient(const T* from, bool& reaches) {
    T* const to = reaches ? state_ : dstate_turned_;
    copy_matrix(P_, N_, in_rows(from, P_, N_), in_tiles(to, P_));
    if (reaches)
      for (int64_t i = 0; i < N_ * P_; ++i) dstate_turned_[i] += state_[i];
    reaches = true;
  }
  void put_initial(bool reaches) const {
    T* const to = p_.dinitial + of_head(item_);
    reaches ? copy_matrix(P_, N_, in_tiles<const T>(dstate_turned_, P_), in_rows(to, P_, N_)) : set_zero(to, N_ * P_);
  }

  // Inputs times step sizes, and the gradient before the gate (8), each with its decays too.
  void prepare(const Chunk& c) {
    using V = Lanes<T>;
    constexpr int W = kLanes<T>;
    steps_.prepare(f_, item_, head_, c);
    scaled_rows(f_.x, item_, head_, c, steps_.dt, P_, beside(x_, c));
    for (int64_t i = 0; i < c.steps; ++i) {
      const T *from = row_of(p_.grad, item_, c.begin + i, head_), *z = p_.dz ? row_of(f_.z, item_, c.begin + i, head_) : nullptr;
      for (int64_t k = 0; k < P_; k += W) {
        V g = lanes_of<V>(from, p_.grad.channel, k, P_);
        if (z) g = g * mamba::silu(lanes_of<V>(z, f_.z.channel, k, P_));
        store_first(g_ + i * P_ + k, g, P_ - k);
      }
    }
    scale_rows(c.steps, steps_.to_end, P_, given(x_, c), beside(x_to_end_, c));
    scale_rows(c.steps, steps_.from_start, P_, given(g_, c), beside(g_from_start_, c));
  }

  // (9) The triangle, its gradient, that of the inner products, and what goes over the decays.
  void triangles(const Chunk& c) {
    using V = Lanes<T>;
    const T* const inner = inner_.of(item_, group_, c, turned_, own_);
    transpose_rows(c.steps, P_, x_, P_, x_turned_, room_);
    multiply_lower(c.steps, g_, P_, in_rows<const T>(x_turned_, P_, room_), gradient_, room_);
    const V lane = lane_numbers<V>();
    for (int64_t i = 0; i < c.steps; ++i) {
      T *const of_inner = inner_gradient_ + (c.begin + i) * room_, *const e = gradient_ + i * room_;
      steps_.decays_to(i, [&](int64_t j, V d) {
        const V s = load<V>(inner + i * room_ + j), to_inner = load<V>(e + j) * d;
        store(triangle_ + i * room_ + j, V(s * d));
        store(of_inner + j, V(load<V>(of_inner + j) + to_inner));
        store(e + j, V(lane > broadcast<V>(T(i - j)) ? V{} : V(s * to_inner)));
      });
    }
    sums_across(c.steps, gradient_, room_, across_);
  }

  // (8) dz, for which the output before the gate is computed again.
  void gate(const Chunk& c, const T* state) {
    using V = Lanes<T>;
    constexpr int W = kLanes<T>;
    if (state) {
      transpose_into(P_, N_, in_tiles(state, P_), in_tiles(state_, N_));
      multiply<Left::rows>(c.steps, rows(f_.C, c).at, stride_, in_tiles(state_, N_), P_, beside(y_, c), false);
      scale_rows(c.steps, steps_.from_start, P_, given(y_, c), beside(y_, c));
    } else {
      set_zero(y_, c.steps * P_);
    }
    add_lower<Left::rows>(c.steps, triangle_, room_, given(x_, c), P_, beside(y_, c));
    for (int64_t i = 0; i < c.steps; ++i) {
      const int64_t t = c.begin + i;
      const T *x = row_of(f_.x, item_, t, head_), *z = row_of(f_.z, item_, t, head_), *g = row_of(p_.grad, item_, t, head_);
      for (int64_t k = 0; k < P_; k += W) {
        V y = load_first<V>(y_ + i * P_ + k, P_ - k);
        if (f_.D) y = multiply_add(skip_of<V>(f_, head_, k), lanes_of<V>(x, f_.x.channel, k, P_), y);
        const V slope = mamba::silu_slope(lanes_of<V>(z, f_.z.channel, k, P_));
        store_first(p_.dz + in_item(t) * P_ + k, V(lanes_of<V>(g, p_.grad.channel, k, P_) * slope * y), P_ - k);
      }
    }
  }

  // (10), (11) The gradient of the inputs, and of B by the state after the chunk.
  void inputs(const Chunk& c, bool reaches) {
    if (reaches) {
      transpose_into(P_, N_, in_tiles<const T>(dstate_turned_, P_), in_tiles(dstate_, N_));
      multiply<Left::rows>(c.steps, rows(f_.B, c).at, stride_, in_tiles(dstate_, N_), P_, beside(dx_, c), false);
      scale_rows(c.steps, steps_.to_end, P_, given(dx_, c), beside(dx_, c));
      multiply<Left::rows>(c.steps, x_to_end_, P_, in_tiles(dstate_turned_, P_), N_, rows(dB_, c), true);
    } else {
      set_zero(dx_, c.steps * P_);
    }
    for (int64_t i = 0; i < c.steps; ++i) in_[i] = reaches ? dot(P_, dx_ + i * P_, x_ + i * P_) : T(0);
    add_lower<Left::columns>(c.steps, triangle_, room_, given(g_, c), P_, beside(dx_, c));
  }

  // (11), (13) The gradient of C by the state before the chunk, and that state's, which takes the place of the one after. Returns what
  // passes over all decays of the chunk.
  T outputs(const Chunk& c, const T* state, bool reaches) {
    for (int64_t i = 0; i < c.steps; ++i) out_[i] = T(0);
    if (!state) return T(0);
    multiply<Left::rows>(c.steps, g_from_start_, P_, in_tiles(state, P_), N_, in_rows(row_, c.steps, N_), false);
    const T* const C = rows(f_.C, c).at;
    T* const dC = rows(dC_, c).at;
    for (int64_t i = 0; i < c.steps; ++i) {
      out_[i] = dot(N_, row_ + i * N_, C + i * stride_);
      for (int64_t n = 0; n < N_; ++n) dC[i * stride_ + n] += row_[i * N_ + n];
    }
    const T carry = reaches ? steps_.all * dot(N_ * P_, state, dstate_turned_) : T(0);
    if (reaches) scale_all(N_ * P_, steps_.all, dstate_turned_);
    multiply<Left::columns>(P_, g_from_start_, P_, rows(f_.C, c), N_, in_tiles(dstate_turned_, P_), reaches);
    return carry;
  }

  // (12) across_ becomes the gradient of every step's exponent.
  void along_decays(const Chunk& c, T carry) {
    T later{}, earlier{};
    for (int64_t i = c.steps - 1; i >= 0; --i) across_[i] += later += out_[i];
    for (int64_t i = 0; i < c.steps; ++i) {
      across_[i] += earlier + carry;
      earlier += in_[i];
    }
  }

  // (14), (15)
  void finish(const Chunk& c, T& dA, T& dbias, T& dD, T* of_channels) {
    using V = Lanes<T>;
    constexpr int W = kLanes<T>;
    V from_D{};
    T from_A{}, from_bias{};
    if (of_channels) set_zero(skip_, P_);
    for (int64_t i = 0; i < c.steps; ++i) {
      const T* const x = row_of(f_.x, item_, c.begin + i, head_);
      V along{};
      for (int64_t k = 0; k < P_; k += W) {
        const V xs = lanes_of<V>(x, f_.x.channel, k, P_), d = load_first<V>(dx_ + i * P_ + k, P_ - k),
                g = load_first<V>(g_ + i * P_ + k, P_ - k);
        along = multiply_add(xs, d, along);
        V to_x = d * broadcast<V>(steps_.dt[i]);
        if (f_.D) {
          to_x = multiply_add(skip_of<V>(f_, head_, k), g, to_x);
          from_D = multiply_add(xs, g, from_D);
          if (of_channels) store_first(skip_ + k, V(multiply_add(xs, g, load_first<V>(skip_ + k, P_ - k))), P_ - k);
        }
        store_first(p_.dx + in_item(c.begin + i) * P_ + k, to_x, P_ - k);
      }
      T slope = f_.softplus ? elementary::sigmoid(steps_.raw[i]) : T(1);
      const T step = f_.softplus ? elementary::softplus(steps_.raw[i], elementary::softplus_tail(steps_.raw[i])) : steps_.raw[i];
      slope *= clip_slope(step, f_.least, f_.most);
      const T ddt = (sum(along) + f_.A[head_] * across_[i]) * slope;
      p_.ddt[in_item(c.begin + i)] = ddt;
      from_A += steps_.dt[i] * across_[i], from_bias += ddt;
    }
    dA += from_A, dbias += from_bias, dD += sum(from_D);
    if (of_channels)
      for (int64_t k = 0; k < P_; ++k) of_channels[k] += skip_[k];
  }

  const ChunkScanAdjoint<T>& p_;
  const ChunkScan<T>& f_;
  const Inner<T>& inner_;
  int64_t room_, P_, N_, stride_;
  Scratch<T> numbers_, states_;
  Steps<T> steps_;
  T *across_, *in_, *out_, *triangle_, *gradient_, *own_, *turned_, *row_, *skip_;
  T *x_, *x_to_end_, *x_turned_, *g_, *g_from_start_, *dx_, *y_;  // (steps, channels) but for x_turned_, its transpose
  T *dstate_turned_, *dstate_, *state_, *kept_;                   // turned, and kept: (channels, states)
  int64_t item_ = 0, group_ = 0, head_ = 0;
  T *dB_ = nullptr, *dC_ = nullptr, *inner_gradient_ = nullptr;
};

// (11) What the gradient of the inner products, summed over the heads of a group, adds to those of B and C.
template <class T>
void add_inner(const ChunkScanAdjoint<T>& p, const ChunkScan<T>& f, const Inner<T>& inner, const Chunks<T>& chunks, const T* gradient) {
  const int64_t most = f.length / f.steps + 1;  // parts of the chunks of an item
  const int64_t tasks = f.items * f.groups * most, stride = f.groups * f.states;
  parallel_for(tasks, f.threads, double(f.steps) * inner.row_ns() * 2, [&](int64_t at, int64_t stop) {
    for (; at < stop; ++at) {
      const int64_t group = at / most % f.groups, item = at / most / f.groups, part = at % most, n = chunks.of(item);
      for (int64_t k = part * n / most; k < (part + 1) * n / most; ++k) {
        const Chunk& c = chunks.begin(item)[k];
        check_interrupt(double(c.steps) * inner.row_ns() * 2);
        const int64_t first = (item * f.length + c.begin) * stride + group * f.states;
        const T* const triangle = gradient + ((item * f.groups + group) * f.length + c.begin) * inner.room();
        add_lower<Left::rows>(c.steps, triangle, inner.room(), in_rows(f.B + first, c.steps, stride), f.states,
                              in_rows(p.dC + first, c.steps, stride));
        add_lower<Left::columns>(c.steps, triangle, inner.room(), in_rows(f.C + first, c.steps, stride), f.states,
                                 in_rows(p.dB + first, c.steps, stride));
      }
    }
  });
}

// So many shares of a group's heads that the parts of dB and dC take no more than two results.
template <class T>
int64_t shares_of(const ChunkScan<T>& p) {
  const int64_t of_group = p.heads / p.groups, wanted = (kAdjointTasks + p.items * p.groups - 1) / max<int64_t>(p.items * p.groups, 1);
  return max<int64_t>(1, min(min(of_group, wanted), p.heads * p.channels / max<int64_t>(p.groups * p.states, 1)));
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
  const Inner<T> inner(f, chunks);
  const int64_t shares = shares_of(f), of_group = f.heads / f.groups, tasks = f.items * f.groups * shares;
  const int64_t mixing = f.length * f.groups * f.states, triangles = f.length * inner.room();
  const Scratch<T> inner_gradient(f.items * f.groups * triangles);
  const Totals<T> totals{{p.dA, 1, f.items, f.heads},       {p.dD, 1, f.items, f.D_of_channels ? f.heads * f.channels : f.heads},
                         {p.ddt_bias, 1, f.items, f.heads}, {p.dB, f.items, shares, mixing},
                         {p.dC, f.items, shares, mixing},   {inner_gradient, f.items * f.groups, shares, triangles}};
  int64_t most = 0;
  for (int64_t item = 0; item < f.items; ++item) most = max(most, chunks.of(item));
  parallel_for(tasks, f.threads, head_ns(f) * kAdjointCost * double(of_group) / double(shares), [&](int64_t at, int64_t end) {
    HeadAdjoint<T> adjoint(p, f, inner, most);
    for (; at < end; ++at) {
      const int64_t share = at % shares, group = at / shares % f.groups, item = at / shares / f.groups, part = item * shares + share;
      const int64_t of_inner = (item * f.groups + group) * shares + share;
      adjoint.begin(item, group, totals.dB.part(part), totals.dC.part(part), totals.inner.part(of_inner));
      for (int64_t h = share * of_group / shares; h < (share + 1) * of_group / shares; ++h)
        adjoint.run(group * of_group + h, chunks, totals);
    }
  });
  for (const auto* sums : {&totals.dA, &totals.dD, &totals.ddt_bias, &totals.dB, &totals.dC, &totals.inner}) sums->add_up(f.threads);
  add_inner<T>(p, f, inner, chunks, inner_gradient);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::ssd
