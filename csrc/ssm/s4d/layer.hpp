// The complete layer of a diagonal model: by FFT with one channel's kernel at a time, or by a scan without a kernel. README (2)-(11).
#pragma once
#include "ssm/convolution/rows.hpp"
#include "ssm/s4d/args.hpp"
#include "ssm/s4d/chunk.hpp"
#include "ssm/s4d/kernel.hpp"

namespace quatrefoil::ssm::s4d {
using namespace convolution;
inline namespace QF_ISA {

constexpr int64_t kStepwise = 8;  // samples; up to here the plain recurrence costs less than any setup

// Costs for "auto": ns on one core with 64-byte vectors. Measured on an unrecorded processor.
template <class T>
constexpr double kOperationNs = sizeof(T) == 4 ? 0.0105 : 0.0205;  // one operation of a scan in chunks or of a kernel's sums
constexpr double kMatrixNs = 0.7;                                  // one element of a chunk's matrices
constexpr double kModeNs = 30;                                     // the setup of one mode of a kernel
// The cost of one sample of one transform in float32, by the size of its spectrum; float64 takes twice as long.
constexpr struct {
  double kib, ns;
} kTransforms[] = {{16, 0.8}, {64, 0.9}, {256, 1.1}, {512, 1.35}, {2048, 1.65}};
constexpr double kFarTransformNs = 3;

template <class T>
double transform_ns(double L) {
  const double kib = L * 2 * sizeof(T) / 1024;
  for (const auto& level : kTransforms)
    if (kib <= level.kib) return level.ns * (sizeof(T) / 4);
  return kFarTransformNs * (sizeof(T) / 4);
}

// README (7), in ns per sample and row.
template <class T>
bool prefers_scan(const Layer<T>& p, int64_t n) {
  if (p.both || p.model.disc == Disc::dss || p.method == Method::fft) return false;
  if (p.method == Method::scan || p.start || p.last) return true;
  const double L = double(p.model.L), rows = double(p.B), outputs = double(p.model.M), transform = transform_ns<T>(L);
  const double modes = double(4 * n) * kOperationNs<T>, near = double(kChunk + kLanes<T>) * kOperationNs<T>;
  const double matrices = double(n * kChunk) * kMatrixNs / (rows * L), setup = double(n) * kModeNs / L;
  const double scan = (outputs + 1) * (modes + matrices) + outputs * near;
  const double fft = outputs * (2 * transform + (transform + modes + setup) / rows);
  return scan < fft;
}

template <class T>
const T* skip_of(const Layer<T>& p, int64_t m, int64_t h) {
  return p.D ? p.D + m * p.model.H + h : nullptr;
}

// Calls f(first, count) for the blocks of a row of length L.
template <class T, class F>
void for_whole_row(const Modes& modes, int64_t L, F&& f) {
  const int64_t J = baby_steps<T>(L);
  for_blocks(Segments{1, (L / (J * kGiants) + 1) * J * kGiants}, 0, L, J, modes.shifted, f);
}
template <class T>
void whole_kernel(ChannelKernel<T>& kernel, int64_t L, T* K) {
  for_whole_row<T>(kernel.modes(), L, [&](int64_t first, int64_t count) { kernel.evaluate(first, count, K + first, L); });
}

// The kernels of output m of channel h.
template <class T>
Taps<T> layer_taps(const Layer<T>& p, const T* K, int64_t m, int64_t h) {
  const int64_t L = p.model.L;
  return {K + m * L, p.both ? K + L : nullptr, skip_of(p, m, h), L, p.both ? L - 1 : 0};
}

// The recurrence itself, in double precision; updates `state`.
template <class T>
void step_row(const Layer<T>& p, const Modes& modes, int64_t b, int64_t h, double* state) {
  using V = Modes::V;
  const Model<T>& q = p.model;
  for (int64_t l = 0; l < q.L; ++l) {
    const T u = p.u[(b * q.H + h) * q.L + l];
    for (int64_t i = 0; i < modes.n; i += Modes::W) {
      const cplx<V> fed = modes.input(i, q.B ? q.B + h * q.N : nullptr);
      store_complex(state + 2 * i, modes.z(i) * load_complex<V>(state + 2 * i) + scaled(fed, broadcast<V>(double(u))));
    }
    for (int64_t m = 0; m < q.M; ++m) {
      V y{};
      for (int64_t i = 0; i < modes.n; i += Modes::W) {
        const cplx<V> c = load_first<V>(q.C + (m * q.H + h) * q.N + i, q.N - i);
        y += c.re * load<V>(state + 2 * i) - c.im * load<V>(state + 2 * i + Modes::W);
      }
      const T* const D = skip_of(p, m, h);
      p.y[((b * q.M + m) * q.H + h) * q.L + l] = T(2 * sum(y) + (D ? double(*D) * double(u) : 0.0));
    }
  }
}

// Computes rows by the recurrence, in chunks or, if very short, step by step. Reads u once, writes y once; does not store a kernel of
// length L.
template <class T>
void layer_by_scan(const Layer<T>& p) {
  const Model<T>& q = p.model;
  const bool stepwise = q.L <= kStepwise;
  const int64_t items = p.B * q.H, y_stride = q.H * q.L, n = round_up(q.N, Modes::W);
  const double work = double(q.L) * double(q.M + 1) * double(2 * n + kChunk) * kMultiplyAddNs<T> + double(n) * kExponentialNs;
  const auto input = [&](int64_t item) { return p.u + (item % p.B * q.H + item / p.B) * q.L; };
  const auto row = [&](const Modes& modes, const Chunks<T>* chunks, int64_t item, const T* after, T* states, double* state) {
    const int64_t b = item % p.B, h = item / p.B, at = b * q.H + h;
    for (int64_t i = 0; i < modes.n; i += Modes::W)
      store_complex(state + 2 * i, p.start ? load_first<Modes::V>(p.start + at * q.N + i, q.N - i) : cplx<Modes::V>{});
    T* const y = p.y + (b * q.M * q.H + h) * q.L;
    if (stepwise)
      step_row(p, modes, b, h, state);
    else if (states)
      scan_row(*chunks, modes, input(item), after, q.L, q.M, y, y_stride, state, p.last != nullptr, states);
    else
      scan_row_threaded(*chunks, modes, input(item), q.L, q.M, y, y_stride, state, p.last != nullptr, q.threads);
    for (int64_t i = 0; p.last && i < modes.n; i += Modes::W)
      store_first(p.last + at * q.N + i, load_complex<Modes::V>(state + 2 * i), q.N - i);
  };
  const auto range = [&](int64_t begin, int64_t end, bool threaded) {
    Modes modes(q.N, q.M);
    Chunks<T> chunks(stepwise ? Modes::W : modes.n, stepwise ? 0 : q.M);
    Scratch<T> states(threaded ? 0 : kTileChunks * 2 * modes.n);
    Scratch<double> state(2 * modes.n);
    for (int64_t item = begin, channel = -1; item < end; ++item) {
      const int64_t h = item / p.B;
      if (channel != h) {
        set_channel(modes, q, h);
        if (!stepwise) chunks.set(modes, q, h, p.D);
        channel = h;
      }
      row(modes, &chunks, item, item + 1 < end ? input(item + 1) : nullptr, threaded ? nullptr : static_cast<T*>(states), state);
    }
  };
  constexpr int64_t kLong = kTileChunks * kChunk * 8;  // samples; from here on two forks per row are negligible
  if (items < kFewRows && q.L >= kLong && threads_used(q.threads) > 1)
    range(0, items, true);
  else
    parallel_for(items, q.threads, work, [&](int64_t begin, int64_t end) { range(begin, end, false); });
}

// For rows computed by FFT: adds the contribution of the initial state to y and computes the last state, using sums over modes and moments.
template <class T>
void add_states(const Layer<T>& p, Modes& modes, Vandermonde<T>& sums, Moments<T>& moments, int64_t b, int64_t h, T* buffer) {
  using V = Modes::V;
  const Model<T>& q = p.model;
  const int64_t at = b * q.H + h;
  if (p.start) {
    for (int64_t m = 0; m < q.M; ++m)
      for (int64_t i = 0; i < modes.n; i += Modes::W)
        modes.set_weight(
            m, i, load_first<V>(q.C + (m * q.H + h) * q.N + i, q.N - i) * modes.z(i) * load_first<V>(p.start + at * q.N + i, q.N - i));
    sums.prepare(modes, 2.0);
    sums.evaluate(modes, 0, q.L, buffer, q.L);
    for (int64_t m = 0; m < q.M; ++m) {
      T* const y = p.y + ((b * q.M + m) * q.H + h) * q.L;
      for (int64_t l = 0; l < q.L; ++l) y[l] += buffer[m * q.L + l];
    }
  }
  if (p.last) {
    Scratch<double> S(4 * modes.n);
    set_zero<double>(S, 4 * modes.n);
    for (int64_t l = 0; l < q.L; ++l) buffer[l] = p.u[at * q.L + q.L - 1 - l];
    moments.add(modes, buffer, 0, q.L, S);
    for (int64_t i = 0; i < modes.n; i += Modes::W) {
      const int64_t left = q.N - i;
      const cplx<V> fed = modes.input(i, q.B ? q.B + h * q.N : nullptr);
      cplx<V> s = fed * moment(modes, S, 0, i, 0);
      if (p.start) s = s + modes.power(i, q.L) * load_first<V>(p.start + at * q.N + i, left);
      store_first(p.last + at * q.N + i, s, left);
    }
  }
}

// Computes rows by FFT. A channel's kernel is computed in cache and used for its whole batch. Needs memory for outputs + 4 rows per thread.
template <class T>
void layer_by_fft(const Layer<T>& p) {
  const Model<T>& q = p.model;
  const int64_t cuts = batch_cuts(p.B, q.H);
  const double rows = double(p.B) / double(cuts);
  const double work = (2 * rows + 1) * double(q.L) * kTransformNs + double(q.M * 2 * q.N) * double(q.L) * kMultiplyAddNs<T>;
  parallel_for(q.H * cuts, q.threads, work, [&](int64_t begin, int64_t end) {
    ChannelKernel<T> kernel(q);
    Scratch<T> K(q.M * q.L);
    const bool direct = q.L <= kDirectUpTo;
    convolution::Channel<T> convolution(q.L, p.both);
    Padded<T> padded;
    for (int64_t item = begin, channel = -1; item < end; ++item) {
      const int64_t h = item / cuts, cut = item % cuts;
      if (channel != h) {
        kernel.set(h);
        whole_kernel<T>(kernel, q.L, K);
        channel = h;
      }
      for (int64_t m = 0; m < p.outputs(); ++m) {
        const Taps<T> taps = layer_taps<T>(p, K, m, h);
        const int64_t first = p.B * cut / cuts, rows_end = p.B * (cut + 1) / cuts;
        if (!direct) convolution.set(taps, p.u + (first * q.H + h) * q.L);
        for (int64_t b = first; b < rows_end; ++b) {
          const T* const u = p.u + (b * q.H + h) * q.L;
          T* const y = p.y + ((b * p.outputs() + m) * q.H + h) * q.L;
          if (direct)
            convolve_direct(taps, u, q.L, padded, y);
          else
            convolution.apply(u, y, b + 1 < rows_end ? u + q.H * q.L : nullptr);
        }
      }
    }
  });
  if (!p.start && !p.last) return;
  parallel_for(q.H, q.threads, double(p.B * q.L) * double(q.M * 4 * q.N) * kMultiplyAddNs<T>, [&](int64_t begin, int64_t end) {
    Modes modes(q.N, q.M);
    Vandermonde<T> sums(modes.n, q.M, q.L);
    Moments<T> moments(modes.n, q.L);
    Scratch<T> buffer(q.M * q.L);
    for (int64_t h = begin; h < end; ++h) {
      set_channel(modes, q, h);
      moments.prepare(modes);
      for (int64_t b = 0; b < p.B; ++b) add_states<T>(p, modes, sums, moments, b, h, buffer);
    }
  });
}

template <class T>
void layer(const Layer<T>& p) {
  const Model<T>& q = p.model;
  const int64_t states = p.B * q.H * q.N;
  const bool silent = p.outputs() == 0;  // only the state is needed
  if (p.B * q.H * q.L == 0 || (silent && !p.last)) {
    for (int64_t i = 0; p.last && i < states; ++i) p.last[i] = p.start ? p.start[i] : cplx<T>{};
    return;
  }
  silent || prefers_scan(p, round_up(q.N, Modes::W)) ? layer_by_scan(p) : layer_by_fft(p);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::s4d
