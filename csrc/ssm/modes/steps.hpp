// Sums over modes, K_l = f Re sum_n c_n z_n^l, as matrix products of baby steps z^j, j < J, and giant steps z^(J i). README (6), (7).
#pragma once
#include "core/gemm/tile.hpp"
#include "core/lanes/shuffles.hpp"
#include "core/run/cost.hpp"
#include "ssm/modes/modes.hpp"

namespace quatrefoil::ssm::modes {
inline namespace QF_ISA {

constexpr int64_t kFewRows = 16;       // with fewer channels, the length is split too, to occupy the threads
constexpr double kExponentialNs = 15;  // setup of one mode (estimate)

constexpr int64_t kGiants = 64;                         // giant steps per block; both factors of the block's product stay in L1 and L2
constexpr int64_t kBabySteps = 96, kFewBabySteps = 64;  // whole tiles; fewer for short rows, because the setup costs N (I + J)
constexpr int64_t kSumLength = 32;                      // terms per partial sum, so that hundreds of modes stay accurate in float32

// The logarithm of the threshold below which powers are treated as 0: about 2^-127 or 2^-1023, half the smallest normal number.
template <class T>
constexpr double kLogNothing = sizeof(T) == 4 ? -88.1 : -709.1;

// Steps of a recurrence between two exponentials. The error grows with each step and would be visible in float64 after 64.
template <class T>
constexpr int64_t kRestart = sizeof(T) == 4 ? kGiants : 16;

template <class T>
int64_t baby_steps(int64_t L) {
  constexpr int64_t W = kLanes<T>;
  return min((max<int64_t>(L, 1) + W - 1) / W * W, L < kFewBabySteps * kFewBabySteps ? kFewBabySteps : kBabySteps);
}

template <class V, int... i>
QF_HD auto join(V a, V b, std::integer_sequence<int, i...>) {
  return __builtin_shufflevector(a, b, i...);
}

// Converts to T: both registers if T has twice the lanes, otherwise the first.
template <class T>
QF_HD Lanes<T> rounded(Lanes<double> a, Lanes<double> b) {
  if constexpr (sizeof(T) == 8)
    return a;
  else
    return join(converted<T>(a), converted<T>(b), std::make_integer_sequence<int, kLanes<T>>{});
}

// Giant and baby steps of one channel's modes: real and imaginary parts alternate every W modes.
template <class T>
class Steps {
 public:
  using V = Modes::V;
  static constexpr int W = Modes::W;

  explicit Steps(int64_t L) : J(baby_steps<T>(L)), last_(min(J, L) - 1) {}

  // Calls f(r, g, z^(first + J r)) for r < rows and the vectors g < count of modes, starting at mode i. The vectors advance together to
  // hide latency. Exponents of growing modes count from the origin. Their giant steps add `last_`, and their baby steps subtract it, so
  // both exponents are at most 0 and no factor exceeds 1.
  template <int count, class F>
  QF_HD void giant(const Modes& modes, int64_t i, int64_t first, int64_t rows, F&& f) const {
    cplx<V> stride[count], u[count] = {};
    V shift[count] = {};
    for (int g = 0; g < count; ++g) {
      stride[g] = modes.power(i + g * W, J);
      if (modes.shifted) shift[g] = giant_shift(modes, i + g * W) - modes.origin(i + g * W);
    }
    for (int64_t r = 0; r < rows; ++r) {
      const bool restarts = r % kRestart<T> == 0 || modes.shifted;  // steps of a growing mode would stay 0 after an underflow
      for (int g = 0; g < count; ++g) {
        u[g] = !restarts                        ? u[g] * stride[g]
               : first + r > 0 || modes.shifted ? modes.power(i + g * W, V(shift[g] + double(first + r * J)))
                                                : cplx<V>{broadcast<V>(1.0), V{}};
        f(r, g, u[g]);
      }
    }
  }
  // Baby step j.
  QF_HD cplx<V> baby(const Modes& modes, int64_t i, int64_t j) const {
    if (j == 0 && !modes.shifted) return {broadcast<V>(1.0), V{}};
    return modes.power(i, modes.shifted ? V(double(j) - giant_shift(modes, i)) : broadcast<V>(double(j)));
  }

  const int64_t J;

 private:
  V giant_shift(const Modes& modes, int64_t i) const { return modes.origin(i) > 0.0 ? broadcast<V>(double(last_)) : V{}; }
  const int64_t last_;
};

// Calls f(vectors, first) for `count` vectors of modes: `width` at a time, then one at a time.
template <int width, class F>
QF_HD void each_vectors(int64_t count, F&& f) {
  int64_t i = 0;
  for (; i + width <= count; i += width) f(std::integral_constant<int, width>{}, i);
  for (; i < count; ++i) f(std::integral_constant<int, 1>{}, i);
}

// A column of tiles (core/gemm/tile.hpp) of a product, summed over n in partial sums of kSumLength terms.
template <class Columns, class T>
void multiply_in_blocks(Columns, int64_t rows, int64_t n, const T* a, int64_t a_stride, const T* b, int64_t b_stride, T* c,
                        int64_t c_stride) {
  for (int64_t k = 0; k < max<int64_t>(n, 1); k += kSumLength)
    tile_column<Left::rows, Columns::vectors, typename Columns::Vector>(rows, min(kSumLength, n - k), a + k, a_stride, b + k * b_stride,
                                                                        b_stride, c, c_stride, k > 0);
}

// K of one channel, for all its M outputs, which share the giant steps.
template <class T>
class Vandermonde {
 public:
  using V = Modes::V;
  static constexpr int W = Modes::W;
  const int64_t J;

  Vandermonde(int64_t n, int64_t M, int64_t length)
      : J(baby_steps<T>(length)), steps_(length), n_(n), M_(M), baby_(M * 2 * n * J), giant_(kGiants * 2 * n), row_(J) {}

  // Computes f Cbar z^j, j < J: for every W modes, W rows of real parts, then W rows of negative imaginary parts. Blocks of kWide steps of
  // kWide modes are transposed. Without growing modes, all blocks are the first one times a power of z^kWide.
  void prepare(const Modes& modes, double f) {
    for (int64_t m = 0; m < M_; ++m)
      for (int64_t i = 0; i < n_; i += kWide) {
        const int parts = int(min<int64_t>(kWide, n_ - i) / W);
        T* const to = baby_ + (m * n_ + i) * 2 * J;
        cplx<V> z[kParts] = {}, w[kParts] = {};
        for (int g = 0; g < parts; ++g) z[g] = modes.z(i + g * W), w[g] = scaled(modes.weight(m, i + g * W), broadcast<V>(f));
        for (int64_t j = 0; j < J; j += modes.shifted ? kWide : J) first_powers(modes, i, parts, j, z, w, to + j);
        if (!modes.shifted) later_powers(modes, i, parts, z, to);
      }
  }

  // out[m stride + l - first] = K_l of output m, first <= l < first + count. Reads 2 n (J + I) factors from cache per I J elements written.
  void evaluate(const Modes& modes, int64_t first, int64_t count, T* out, int64_t stride) {
    const int64_t rows = (count + J - 1) / J;
    for (int64_t r = 0; r < rows; r += kGiants) {
      const int64_t block = min(kGiants, rows - r), done = r * J, full = min(block, (count - done) / J);
      check_interrupt(double(block * J) * double(M_ * 2 * n_) * kMultiplyAddNs<T>);
      if (modes.vanished(first + done, kLogNothing<T>)) {  // the product would be 0
        for (int64_t m = 0; m < M_; ++m) set_zero(out + m * stride + done, count - done);
        return;
      }
      each_vectors<4>(n_ / W, [&](auto vectors, int64_t v) __attribute__((always_inline)) {
        steps_.template giant<vectors.value>(modes, v * W, first + done, block, [&](int64_t row, int g, cplx<V> u) {
          store_complex(giant_ + (row * n_ + (v + g) * W) * 2, u);
        });
      });
      for (int64_t m = 0; m < M_; ++m) {
        T* const K = out + m * stride + done;
        const T* const baby = baby_ + m * 2 * n_ * J;
        for_columns<T>(J, [&](auto columns, int64_t j) {
          multiply_in_blocks(columns, full, 2 * n_, giant_ + 0, 2 * n_, baby + j, J, K + j, J);
          if (full < block) multiply_in_blocks(columns, 1, 2 * n_, giant_ + full * 2 * n_, 2 * n_, baby + j, J, row_ + j, J);
        });
        if (full < block) __builtin_memcpy(K + full * J, row_, std::size_t(count - done - full * J) * sizeof(T));
      }
    }
  }

 private:
  using L = Lanes<T>;
  static constexpr int kWide = kLanes<T>, kParts = kWide / W;

  // Stores w z^(j + k), k < kWide, for `parts` vectors of modes starting at i. Growing modes need an exponential for each power; others use
  // a recurrence, with j = 0.
  void first_powers(const Modes& modes, int64_t i, int parts, int64_t j, const cplx<V>* z, const cplx<V>* w, T* to) {
    L re[kWide], im[kWide];
    cplx<V> two[kParts], x[2][kParts];
    for (int g = 0; g < kParts; ++g) two[g] = z[g] * z[g], x[0][g] = w[g], x[1][g] = w[g] * z[g];
#pragma GCC unroll 16
    for (int k = 0; k < kWide; ++k) {
      cplx<V>* const now = x[k % 2];
      if (modes.shifted)
        for (int g = 0; g < parts; ++g) now[g] = w[g] * steps_.baby(modes, i + g * W, j + k);
      re[k] = rounded<T>(now[0].re, now[kParts - 1].re), im[k] = rounded<T>(V(-now[0].im), V(-now[kParts - 1].im));
      for (int g = 0; g < kParts; ++g) now[g] = now[g] * two[g];
    }
    transpose(re);
    transpose(im);
    for (int k = 0; k < parts * W; ++k) {
      T* const row = to + k / W * 2 * W * J + k % W * J;
      store(row, re[k]), store(row + W * J, im[k]);
    }
  }
  // The steps j >= kWide, computed from the first kWide steps.
  void later_powers(const Modes& modes, int64_t i, int parts, const cplx<V>* z, T* to) {
    cplx<V> wide[kParts], stride[kParts];
    for (int g = 0; g < parts; ++g) {
      wide[g] = z[g];
      if (sizeof(T) == 8)
        wide[g] = modes.power(i + g * W, kWide);  // otherwise rounding errors would be visible in float64 after J / W steps
      else
        for (int k = 1; k < kWide; k *= 2) wide[g] = wide[g] * wide[g];
      stride[g] = wide[g];
    }
    const int64_t blocks = J / kWide - 1;
    alignas(64) T re[kBabySteps], im[kBabySteps];  // z^kWide, z^(2 kWide), ... of the kWide modes, power by power
    for (int64_t k = 0; k < blocks * kWide; k += kWide)
      for (int g = 0; g < parts; ++g) {
        store_complex(re + k + g * W, im + k + g * W, stride[g]);
        stride[g] = stride[g] * wide[g];
      }
    for (int k = 0; k < parts * W; ++k) {
      T* const row = to + k / W * 2 * W * J + k % W * J;
      const L x = load<L>(row), y = load<L>(row + W * J);
      for (int64_t block = 0; block < blocks; ++block) {
        const L c = broadcast<L>(re[block * kWide + k]), s = broadcast<L>(im[block * kWide + k]);
        T* const at = row + (block + 1) * kWide;
        store(at, x * c + y * s);  // y is the negative imaginary part
        store(at + W * J, y * c - x * s);
      }
    }
  }

  const Steps<T> steps_;
  const int64_t n_, M_;
  Scratch<T> baby_, giant_, row_;
};

// Splits a long row into segments of whole blocks of giant steps. The split depends on sizes alone, so the bits do not depend on the
// number of threads.
struct Segments {
  int64_t count, length;
};
inline Segments segments(int64_t H, int64_t L, int64_t J) {
  const int64_t unit = J * kGiants, units = max<int64_t>((L + unit - 1) / unit, 1);
  const int64_t wanted = H >= kFewRows ? 1 : (kFewRows + H - 1) / max<int64_t>(H, 1), each = (units + wanted - 1) / wanted;
  return {(units + each - 1) / each, each * unit};
}
// Calls f(first, count) for the blocks of [0, L) in segment k. For growing modes (DSS) the remaining L % J steps come first, so that the
// last giant step ends at L.
template <class F>
void for_blocks(const Segments& cut, int64_t k, int64_t L, int64_t J, bool remainder_first, F&& f) {
  const int64_t rest = remainder_first ? L % J : 0, end = min((k + 1) * cut.length, L - rest);
  if (k == 0 && rest) f(0, rest);
  for (int64_t l = k * cut.length; l < end; l += J * kGiants) f(rest + l, min(J * kGiants, end - l));
}

// Rows of sums: set(modes, h) sets the modes and weights of a channel, put(sum, modes, h, first, count) writes a block of its M rows.
template <class T, class Set, class Put>
void sum_rows(int64_t H, int64_t M, int64_t N, int64_t L, double f, int threads, Set&& set, Put&& put) {
  const int64_t J = baby_steps<T>(L);
  const Segments cut = segments(H, L, J);
  const double item = double(M * 2 * N) * double(min(cut.length, L)) * kMultiplyAddNs<T> + double(N) * kExponentialNs;
  parallel_for(H * cut.count, threads, item, [&](int64_t begin, int64_t end) {
    Modes modes(N, M);
    Vandermonde<T> sum(modes.n, M, L);
    for (int64_t at = begin, channel = -1; at < end; ++at) {
      const int64_t h = at / cut.count;
      if (channel != h) {
        set(modes, h);
        sum.prepare(modes, f);
        channel = h;
      }
      for_blocks(cut, at % cut.count, L, J, modes.shifted, [&](int64_t first, int64_t count) { put(sum, modes, h, first, count); });
    }
  });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::modes
