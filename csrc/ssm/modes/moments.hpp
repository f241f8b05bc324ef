// The adjoint of sums over modes: the moments S0_n = sum_l g_l z_n^l and S1_n = sum_l l g_l z_n^l. README (8), (9).
#pragma once
#include "core/run/partial_sums.hpp"
#include "ssm/modes/steps.hpp"
#include "ssm/scan/formula.hpp"

namespace quatrefoil::ssm::modes {
inline namespace QF_ISA {

template <class T>
class Moments {
 public:
  using V = Modes::V;
  static constexpr int W = Modes::W;
  const int64_t J;

  Moments(int64_t n, int64_t L)
      : J(baby_steps<T>(L)),
        steps_(L),
        n_(n),
        baby_(J * 2 * n),
        weighted_(kGiants * J),
        sums_(2 * kGiants * 2 * n),
        weighted_sums_(sums_ + kGiants * 2 * n) {}

  // Computes the baby steps: [re, im] of W modes, one mode per lane. In float32 without growing modes, steps from W on are products.
  void prepare(const Modes& modes) {
    constexpr bool products = sizeof(T) == 4;
    const int64_t count = products && !modes.shifted ? W : J;
    for (int64_t i = 0; i < n_; i += W) {
      const cplx<V> z = modes.z(i);
      cplx<V> x{};
      for (int64_t j = 0; j < count; ++j) {
        x = j % kRestart<T> == 0 || modes.shifted ? steps_.baby(modes, i, j) : x * z;
        store_complex(baby_ + (j * n_ + i) * 2, x);
      }
      if constexpr (products)
        if (count < J) later_powers(modes.power(i, count), i);
    }
  }

  // Adds the moments of g, whose first element has index `first`, to S: [re S0, im S0, re S1, im S1] of W modes at a time, 4 n numbers.
  // Reads g from memory once. Once the powers of all modes are negligible, g is only checked for NaN and infinity.
  void add(const Modes& modes, const T* g, int64_t first, int64_t count, double* S) {
    const int64_t rows = (count + J - 1) / J;
    for (int64_t r = 0; r < rows; r += kGiants) {
      const int64_t block = min(kGiants, rows - r), done = r * J;
      check_interrupt(double(block * J) * double(4 * n_) * kMultiplyAddNs<T>);
      if (modes.vanished(first + done, kLogNothing<T>)) {
        add_nonfinite(g + done, count - done, S);
        return;
      }
      sum_rows(g + done, min(block * J, count - done));
      each_vectors<2>(n_ / W, [&](auto vectors, int64_t v) {
        if (!modes.shifted)
          add_vectors<vectors.value>(modes, v * W, first + done, block, S);
        else
          for (int k = 0; k < vectors.value; ++k) add_each(modes, (v + k) * W, first + done, block, S);
      });
    }
  }

 private:
  // (9): T and T' of rows of J elements; the last row may be shorter.
  void sum_rows(const T* g, int64_t count) {
    const int64_t full = count / J, rest = count % J;
    for (int64_t l = 0; l < count; l += J) weigh(g + l, min(J, count - l), weighted_ + l);
    for_columns<T>(2 * n_, [&](auto columns, int64_t j) {
      const auto sum = [&](const T* from, int64_t lines, int64_t terms, T* to) {
        multiply_in_blocks(columns, lines, terms, from, J, baby_ + j, 2 * n_, to + j, 2 * n_);
      };
      sum(g, full, J, sums_), sum(weighted_, full, J, weighted_sums_);
      if (rest) sum(g + full * J, 1, rest, sums_ + full * 2 * n_), sum(weighted_ + full * J, 1, rest, weighted_sums_ + full * 2 * n_);
    });
  }
  static void weigh(const T* g, int64_t count, T* to) {
    constexpr int lanes = kLanes<T>;
    T ramp[lanes];
    for (int k = 0; k < lanes; ++k) ramp[k] = T(k);
    Lanes<T> at = load<Lanes<T>>(ramp);
    for (int64_t j = 0; j < count; j += lanes, at += T(lanes)) store(to + j, Lanes<T>(load_first<Lanes<T>>(g + j, count - j) * at));
  }
  // (9): S0 and S1 of `count` vectors of modes, starting at mode i, by Horner's rule with x = z^J. From the last row r to the first, first
  // E <- T'_r + x (E + J P), then P <- T_r + x P. Like the giant steps of K, the powers restart from an exponential every kRestart rows.
  template <int count>
  QF_HD void add_vectors(const Modes& modes, int64_t i, int64_t first, int64_t rows, double* S) {
    const V step = broadcast<V>(double(J));
    cplx<V> x[count];
    for (int k = 0; k < count; ++k) x[k] = modes.power(i + k * W, J);
    for (int64_t begin = 0; begin < rows; begin += kRestart<T>) {
      cplx<V> p[count] = {}, e[count] = {};
      for (int64_t row = min(begin + kRestart<T>, rows) - 1; row >= begin; --row)
#pragma GCC unroll 4
        for (int k = 0; k < count; ++k) {
          e[k] = scan::step(x[k], cplx<V>{multiply_add(step, p[k].re, e[k].re), multiply_add(step, p[k].im, e[k].im)},
                            row_sum(weighted_sums_, row, i + k * W));
          p[k] = scan::step(x[k], p[k], row_sum(sums_, row, i + k * W));
        }
      const int64_t at = first + begin * J;
      for (int k = 0; k < count; ++k) add_moments(i + k * W, modes.power(i + k * W, at), double(at), p[k], e[k], S);
    }
  }
  // The same for growing modes: each row uses its own power.
  void add_each(const Modes& modes, int64_t i, int64_t first, int64_t rows, double* S) {
    steps_.template giant<1>(modes, i, first, rows, [&](int64_t row, int, cplx<V> u) {
      add_moments(i, u, double(first + row * J), row_sum(sums_, row, i), row_sum(weighted_sums_, row, i), S);
    });
  }
  QF_HD cplx<V> row_sum(const T* sums, int64_t row, int64_t i) const { return load_complex<V>(sums + (row * n_ + i) * 2); }
  // S0 += u p, S1 += u (at p + e).
  QF_HD static void add_moments(int64_t i, cplx<V> u, double at, cplx<V> p, cplx<V> e, double* S) {
    double* const s = S + 4 * i;
    const cplx<V> s0 = u * p, s1 = u * (scaled(p, broadcast<V>(at)) + e);
    store_complex(s, load_complex<V>(s) + s0);
    store_complex(s + 2 * W, load_complex<V>(s + 2 * W) + s1);
  }
  void add_nonfinite(const T* g, int64_t count, double* S) {
    Lanes<T> sum{};
    for (int64_t l = 0; l < count; l += kLanes<T>) sum += load_first<Lanes<T>>(g + l, count - l) * T(0);
    for (int64_t i = 0; i < 4 * n_; ++i) S[i] += double(quatrefoil::sum(sum));
  }

  // The steps from W on, in blocks of W: the first block times `far` = z^W, then its square, and so on; [re, im] in one register.
  void later_powers(cplx<V> far, int64_t i) {
    using P = Lanes<T, 2 * W>;
    P first[W], swapped[W];
    for (int k = 0; k < W; ++k) {
      first[k] = load<P>(baby_ + (k * n_ + i) * 2);
      swapped[k] = with_halves_swapped(first[k], std::make_integer_sequence<int, 2 * W>{});
    }
    cplx<V> x = far;
    for (int64_t j = W; j < J; j += W) {
      const P re = rounded<T>(x.re, x.re), im = rounded<T>(V(-x.im), x.im);
#pragma GCC unroll 8
      for (int k = 0; k < W; ++k) store(baby_ + ((j + k) * n_ + i) * 2, P(first[k] * re + swapped[k] * im));
      x = x * far;
    }
  }
  template <class P, int... i>
  QF_HD static P with_halves_swapped(P x, std::integer_sequence<int, i...>) {
    return __builtin_shufflevector(x, x, ((i + W) % (2 * W))...);
  }

  const Steps<T> steps_;
  const int64_t n_;
  Scratch<T> baby_, weighted_, sums_;
  T* const weighted_sums_;
};

// The moments of rows: get(m, h, first, count, buffer) returns a block of row m of a channel, in place or in the buffer. Then finish(modes,
// h, S) receives the channel's moments; those of row m start at S + 4 n m. If rows are split, stores 4 M H n doubles per segment.
template <class T, class Set, class Get, class Finish>
void moments_of_rows(int64_t H, int64_t M, int64_t N, int64_t L, int threads, Set&& set, Get&& get, Finish&& finish) {
  const int64_t J = baby_steps<T>(L), n = round_up(N, Modes::W), size = 4 * n * M;
  const Segments cut = segments(H, L, J);
  const double item = double(M * 4 * N) * double(min(cut.length, L)) * kMultiplyAddNs<T> + double(N) * kExponentialNs;
  const bool whole = cut.count == 1;  // rows are not split: their moments are used immediately
  Scratch<double> all(whole ? 0 : H * cut.count * size);
  parallel_for(H * cut.count, threads, item, [&](int64_t begin, int64_t end) {
    Modes modes(N, M);
    Moments<T> moments(n, L);
    Scratch<T> buffer(J * kGiants);
    Scratch<double> own(whole ? size : 0);
    for (int64_t at = begin, channel = -1; at < end; ++at) {
      const int64_t h = at / cut.count;
      if (channel != h) {
        set(modes, h);
        moments.prepare(modes);
        channel = h;
      }
      double* const S = whole ? own : all + at * size;
      set_zero(S, size);
      for_blocks(cut, at % cut.count, L, J, modes.shifted, [&](int64_t first, int64_t count) {
        for (int64_t m = 0; m < M; ++m) moments.add(modes, get(m, h, first, count, buffer), first, count, S + 4 * n * m);
      });
      if (whole) finish(modes, h, S);
    }
  });
  if (whole) return;
  parallel_for(H, threads, double(M * N) * kExponentialNs, [&](int64_t begin, int64_t end) {
    Modes modes(N, M);
    for (int64_t h = begin; h < end; ++h) {
      double* const S = all + h * cut.count * size;
      add_parts(cut.count - 1, S + size, size, size, S);
      set(modes, h);
      finish(modes, h, S);
    }
  });
}

// S0 or S1 (part 0 or 1) of row m, for W modes starting at i.
QF_HD cplx<Modes::V> moment(const Modes& modes, const double* S, int64_t m, int64_t i, int part) {
  return load_complex<Modes::V>(S + 4 * (modes.n * m + i) + 2 * part * Modes::W);
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::modes
