// Short causal convolution with a few taps per channel. If time is contiguous, lanes run along time, and each tap loads
// from the next element. For other strides, few steps, segments and gradients, lanes run along channels, so that no sum crosses lanes.
#pragma once
#include "core/run/partial_sums.hpp"
#include "ssm/selective/channel_lanes.hpp"
#include "ssm/selective/formula.hpp"

namespace quatrefoil::ssm::selective {
inline namespace QF_ISA {

constexpr int kConvSteps = 64;  // steps per tile: 4 KB of lanes per array

// The taps of W channels [channel, channel + rows) of one item.
template <class T>
struct ConvTile {
  using V = Lanes<T>;
  const CausalConv<T>& p;
  int64_t item, channel;
  int rows;

  ConvTile(const CausalConv<T>& p, int64_t tile, int64_t tiles)
      : p(p),
        item(tile / tiles),
        channel(tile % tiles * kLanes<T>),
        rows(int(min<int64_t>(kLanes<T>, p.channels - tile % tiles * kLanes<T>))) {}
  int64_t row() const { return item * p.channels + channel; }
  void load(const Signal<const T>& x, int64_t t, int64_t steps, V* to) const {
    load_steps(x.at + item * x.item + channel * x.channel + t * x.time, x.channel, x.time, rows, steps, to);
  }
  void load_weight(V* w) const {
    for (int64_t j = 0; j < p.taps; ++j) w[j] = gather<V>(p.weight + channel * p.taps + j, p.taps, rows);
  }
  // Loads samples t - before .. t + steps - 1, where before = taps - 1. Samples before 0 are the initial ones, or 0.
  void load_window(int64_t t, int64_t steps, V* x) const {
    const int64_t before = p.taps - 1, missing = max<int64_t>(before - t, 0);
    if (p.initial.at && missing)
      load(p.initial, t, missing, x);
    else
      for (int64_t k = 0; k < missing; ++k) x[k] = V{};
    load(p.x, t - before + missing, before - missing + steps, x + missing);
  }
  // Whether the output at `to` uses the sample at `from`.
  bool together(int64_t from, int64_t to) const {
    const int64_t* s = p.segments + item * p.length;
    return from >= 0 && to < p.length && s[from] == s[to] && !padding(to);
  }
  bool padding(int64_t t) const { return p.segments[item * p.length + t] < 0; }
};

// (10) y_i = bias + sum_j w_j x_{i+j}, with x from the window. kTaps = 0: any number of taps.
template <int kTaps, class T, class V>
void convolve(const ConvTile<T>& tile, int64_t t, int64_t steps, const V* w, V bias, const V* x, V* y) {
  const int64_t taps = kTaps ? kTaps : tile.p.taps;
  if (tile.p.segments) {
    for (int64_t i = 0; i < steps; ++i) {
      V sum = tile.padding(t + i) ? V{} : bias;
      for (int64_t j = 0; j < taps; ++j)
        if (tile.together(t + i + j - (taps - 1), t + i)) sum = multiply_add(w[j], x[i + j], sum);
      y[i] = sum;
    }
    return;
  }
  for (int64_t i = 0; i < steps; ++i) {
    V sum = bias;
    for (int64_t j = 0; j < taps; ++j) sum = multiply_add(w[j], x[i + j], sum);
    y[i] = sum;
  }
}
template <class T, class V>
void convolve(const ConvTile<T>& tile, int64_t t, int64_t steps, const V* w, V bias, const V* x, V* y) {
  switch (tile.p.taps) {  // taps of the usual widths stay in registers
    case 2: return convolve<2>(tile, t, steps, w, bias, x, y);
    case 3: return convolve<3>(tile, t, steps, w, bias, x, y);
    case 4: return convolve<4>(tile, t, steps, w, bias, x, y);
    default: return convolve<0>(tile, t, steps, w, bias, x, y);
  }
}

template <class T>
int64_t window(int64_t taps) {  // lanes in a window, with room for whole squares
  return taps - 1 + kConvSteps + 2 * kLanes<T>;
}
template <class T>
double conv_ns(const CausalConv<T>& p, int64_t steps) {  // for `steps` steps of a tile
  return double(steps) * kLanes<T> * (1.0 + 0.1 * double(p.taps));
}
template <class T>
double conv_tile_ns(const CausalConv<T>& p) {
  return conv_ns(p, p.length);
}

// Reads x once; writes out once.
template <class T>
void conv_channels(const CausalConv<T>& p) {
  using V = Lanes<T>;
  const int64_t tiles = (p.channels + kLanes<T> - 1) / kLanes<T>, before = p.taps - 1;
  parallel_for(p.items * tiles, p.threads, conv_tile_ns(p), [&](int64_t begin, int64_t end) {
    const Scratch<V> memory(p.taps + window<T>(p.taps) + kConvSteps);
    V *w = memory, *x = w + p.taps, *y = x + window<T>(p.taps);
    for (int64_t i = begin; i < end; ++i) {
      const ConvTile<T> tile(p, i, tiles);
      tile.load_weight(w);
      const V bias = p.bias ? gather<V>(p.bias + tile.channel, 1, tile.rows) : V{};
      int64_t steps = 0;
      InterruptCheck check;
      tile.load_window(0, 0, x);
      for (int64_t t = 0; t < p.length; t += kConvSteps) {
        for (int64_t k = 0; k < before; ++k) x[k] = x[steps + k];  // the end of the previous window is the beginning of this one
        steps = min<int64_t>(kConvSteps, p.length - t);
        check(conv_ns(p, steps));
        tile.load(p.x, t, steps, x + before);
        convolve(tile, t, steps, w, bias, x, y);
        if (p.silu)
          for (int64_t k = 0; k < steps; ++k) y[k] = silu(y[k]);
        store_steps(p.out + tile.row() * p.length + t, p.length, tile.rows, steps, y);
      }
      if (p.final) store_steps(p.final + tile.row() * before, before, tile.rows, before, x + steps);
    }
  });
}

// (10) y_i = bias + sum_j w_j x_{i+j}, i < count, from count + taps - 1 contiguous elements.
template <int kTaps, class T>
void convolve_row(const T* x, const T* w, int64_t taps, T bias, int64_t count, T* y) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>;
  if (kTaps) taps = kTaps;
  const auto sum_at = [&](int64_t i, int64_t left) __attribute__((always_inline)) {
    V sum = broadcast<V>(bias);
    for (int64_t j = 0; j < taps; ++j) sum = multiply_add(broadcast<V>(w[j]), load_first<V>(x + i + j, left), sum);
    return sum;
  };
  int64_t i = 0;
  for (; i + W <= count; i += W) store(y + i, sum_at(i, W));
  if (i < count) store_first(y + i, sum_at(i, count - i), count - i);
}
template <class T>
void convolve_row(const T* x, const T* w, int64_t taps, T bias, bool with_silu, int64_t count, T* y) {
  switch (taps) {
    case 2: convolve_row<2>(x, w, taps, bias, count, y); break;
    case 3: convolve_row<3>(x, w, taps, bias, count, y); break;
    case 4: convolve_row<4>(x, w, taps, bias, count, y); break;
    default: convolve_row<0>(x, w, taps, bias, count, y);
  }
  using V = Lanes<T>;
  for (int64_t i = 0; with_silu && i < count; i += kLanes<T>) store_first(y + i, silu(load_first<V>(y + i, count - i)), count - i);
}

// Reads x once; writes out once. The first outputs use a copy of their inputs that follows the initial samples.
template <class T>
void conv_rows(const CausalConv<T>& p) {
  constexpr int64_t kBlockOutputs = 1024;  // outputs that stay in L1 until their activation
  const int64_t before = p.taps - 1, L = p.length, early = min(L, before);
  parallel_for(p.items * p.channels, p.threads, conv_tile_ns(p) / kLanes<T>, [&](int64_t begin, int64_t end) {
    Scratch<T> first(2 * before);
    InterruptCheck check;
    for (int64_t row = begin; row < end; ++row) {
      const int64_t item = row / p.channels, channel = row % p.channels;
      const T *const x = p.x.at + item * p.x.item + channel * p.x.channel, *const w = p.weight + channel * p.taps;
      const T* const initial = p.initial.at ? p.initial.at + item * p.initial.item + channel * p.initial.channel : nullptr;
      const T bias = p.bias ? p.bias[channel] : T(0);
      T* const y = p.out + row * L;
      for (int64_t k = 0; k < before; ++k) first[k] = initial ? initial[k * p.initial.time] : T(0);
      for (int64_t k = 0; k < early; ++k) first[before + k] = x[k];
      convolve_row(static_cast<const T*>(first), w, p.taps, bias, p.silu, early, y);
      for (int64_t t = early; t < L; t += kBlockOutputs) {
        check(conv_ns(p, kBlockOutputs) / kLanes<T>);
        convolve_row(x + t - before, w, p.taps, bias, p.silu, min(kBlockOutputs, L - t), y + t);
      }
      if (p.final) __builtin_memcpy(p.final + row * before, L < before ? first + L : x + L - before, std::size_t(before) * sizeof(T));
    }
  });
}

// Lanes run along channels for rows shorter than a vector, as in decoding, because lanes along time would be mostly empty.
template <class T>
void causal_conv(const CausalConv<T>& p) {
  p.x.time == 1 && !p.segments && p.length >= kLanes<T> ? conv_rows(p) : conv_channels(p);
}

// (11)-(13) for W channels, starting with the last tile, because the gradients of the taps - 1 outputs after a tile are then available.
template <class T>
struct ConvAdjoint {
  using V = Lanes<T>;
  const CausalConvAdjoint<T>& p;
  const CausalConv<T>& f = p.forward;
  PartialSums<T> dweight, dbias;  // one part per item

  // Stores the gradients before the activation in g; after the last output they are 0.
  void load_grad(const ConvTile<T>& tile, int64_t t, int64_t steps, const V* w, V bias, const V* x, V* g, V* y) const {
    const int64_t before = f.taps - 1;
    if (t + steps < f.length)
      for (int64_t k = before - 1; k >= 0; --k) g[kConvSteps + k] = g[k];
    tile.load(p.grad, t, steps, g);
    if (t + steps == f.length)
      for (int64_t k = 0; k < before; ++k) g[steps + k] = V{};
    for (int64_t i = 0; f.segments && i < steps; ++i)
      if (tile.padding(t + i)) g[i] = V{};
    if (!f.silu) return;
    convolve(tile, t, steps, w, bias, x, y);
    for (int64_t i = 0; i < steps; ++i) g[i] = g[i] * silu_slope(y[i]);
  }

  // (12) The contribution of output i + before - j to sample i through tap j.
  void input_gradient(const ConvTile<T>& tile, int64_t t, int64_t steps, const V* w, const V* g, V* dx) const {
    const int64_t before = f.taps - 1;
    for (int64_t i = 0; i < steps; ++i) {
      V sum{};
      for (int64_t j = 0; j < f.taps; ++j)
        if (!f.segments || tile.together(t + i, t + i + before - j)) sum = sum + w[j] * g[i + before - j];
      dx[i] = sum;
    }
    add_final(tile, t + before, steps, dx);
  }

  // The final states are the last taps - 1 of the initial samples and x, counted from the first initial sample.
  void add_final(const ConvTile<T>& tile, int64_t from, int64_t steps, V* dx) const {
    if (!p.grad_final) return;
    const int64_t before = f.taps - 1;
    for (int64_t k = max<int64_t>(f.length - from, 0); k < steps; ++k)
      dx[k] = dx[k] + gather<V>(p.grad_final + tile.row() * before + from + k - f.length, before, tile.rows);
  }

  // (13)
  void weight_gradient(const ConvTile<T>& tile, int64_t t, int64_t steps, const V* g, const V* x, V* dw) const {
    for (int64_t j = 0; j < f.taps; ++j) {
      V sum{};
      for (int64_t i = 0; i < steps; ++i)
        if (!f.segments || tile.together(t + i + j - (f.taps - 1), t + i)) sum = sum + g[i] * x[i + j];
      dw[j] = dw[j] + sum;
    }
  }

  // Reads x and the result's gradient once; writes dx once. memory: the taps twice, two windows, one tile.
  void run(const ConvTile<T>& tile, V* memory) const {
    const int64_t before = f.taps - 1;
    V *w = memory, *dw = w + f.taps, *x = dw + f.taps, *g = x + window<T>(f.taps), *y = g + window<T>(f.taps);
    const V bias = f.bias ? gather<V>(f.bias + tile.channel, 1, tile.rows) : V{};
    tile.load_weight(w);
    V db{};
    InterruptCheck check;
    for (int64_t j = 0; j < f.taps; ++j) dw[j] = V{};
    for (int64_t k = 0; k < before; ++k) g[k] = V{};
    for (int64_t t = (f.length - 1) / kConvSteps * kConvSteps; f.length && t >= 0; t -= kConvSteps) {
      const int64_t steps = min<int64_t>(kConvSteps, f.length - t);
      check(3 * conv_ns(f, steps));
      tile.load_window(t, steps, x);
      load_grad(tile, t, steps, w, bias, x, g, y);
      V sum{};
      for (int64_t i = 0; i < steps; ++i) sum = sum + g[i];
      db = db + sum;
      weight_gradient(tile, t, steps, g, x, dw);
      input_gradient(tile, t, steps, w, g, y);
      store_steps(p.dx + tile.row() * f.length + t, f.length, tile.rows, steps, y);
    }
    for (int64_t j = 0; j < f.taps; ++j) scatter(dweight.part(tile.item) + tile.channel * f.taps + j, f.taps, tile.rows, dw[j]);
    if (dbias) scatter(dbias.part(tile.item) + tile.channel, 1, tile.rows, db);
    if (!p.dinitial) return;
    for (int64_t m = 0; m < before; ++m) {
      x[m] = V{};
      for (int64_t j = 0; j <= m; ++j) x[m] = x[m] + w[j] * g[m - j];
    }
    add_final(tile, 0, before, x);
    store_steps(p.dinitial + tile.row() * before, before, tile.rows, before, x);
  }
};

template <class T>
void causal_conv_adjoint(const CausalConvAdjoint<T>& p) {
  const auto& f = p.forward;
  const int64_t tiles = (f.channels + kLanes<T> - 1) / kLanes<T>;
  const ConvAdjoint<T> adjoint{p, f, {p.dweight, 1, f.items, f.channels * f.taps}, {p.dbias, 1, f.items, f.channels}};
  parallel_for(f.items * tiles, f.threads, 3 * conv_tile_ns(f), [&](int64_t begin, int64_t end) {
    const Scratch<Lanes<T>> memory(2 * f.taps + 2 * window<T>(f.taps) + kConvSteps);
    for (int64_t i = begin; i < end; ++i) adjoint.run(ConvTile<T>(f, i, tiles), memory);
  });
  adjoint.dweight.add_up(f.threads);
  adjoint.dbias.add_up(f.threads);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::selective
