// Sums over simple poles, sum_n v_n / (z_l - w_n), with or without the conjugate pairs, and their gradient. README (1)-(3).
#pragma once
#include "core/lanes/complex_lanes.hpp"
#include "core/run/parallel.hpp"
#include "ssm/s4/args.hpp"
#include "ssm/s4/formula.hpp"

namespace quatrefoil::ssm::s4 {
inline namespace QF_ISA {

constexpr double kQuotientNs = 1.2;   // one pole at one point (estimate)
constexpr int64_t kPointVectors = 4;  // vectors of points per block; sums are in registers, poles are broadcast

// Points, one per lane of double: real and imaginary parts in separate arrays, padded with a distant point.
class Points {
 public:
  using V = Lanes<double>;
  static constexpr int W = kLanes<double>;

  template <class T>
  Points(const cplx<T>* z, int64_t L) : vectors((L + W - 1) / W), memory_(vectors * 2 * W) {
    for (int64_t l = 0; l < vectors * W; ++l) {
      double* const to = memory_ + l / W * 2 * W + l % W;
      to[0] = l < L ? double(z[l].re) : 1e30, to[W] = l < L ? double(z[l].im) : 0;
    }
  }
  cplx<V> operator[](int64_t k) const { return load_complex<V>(memory_ + k * 2 * W); }
  const int64_t vectors;

 private:
  Scratch<double> memory_;
};

// Reads v and w once per 4 vectors of points; writes y once; sums stay in registers.
template <bool pair, class T>
void cauchy_rows(const CauchyMult<T>& p) {
  using V = Points::V;
  constexpr int W = Points::W;
  const Points points(p.z, p.L);
  const int64_t blocks = (points.vectors + kPointVectors - 1) / kPointVectors;
  parallel_for(p.B * blocks, p.threads, double(p.N * kPointVectors * W) * kQuotientNs, [&](int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end; ++at) {
      const int64_t row = at / blocks, first = at % blocks * kPointVectors, count = min(kPointVectors, points.vectors - first);
      const cplx<T>*v = p.v + row * p.N, *w = p.w + row * p.N;
      cplx<V> z[kPointVectors], sum[kPointVectors] = {};
      for (int64_t k = 0; k < kPointVectors; ++k) z[k] = points[first + min(k, count - 1)];
      for (int64_t n = 0; n < p.N; ++n) {
        const cplx<V> vn = broadcast<V>(v[n]), wn = broadcast<V>(w[n]);
#pragma GCC unroll 4
        for (int64_t k = 0; k < kPointVectors; ++k) sum[k] = sum[k] + cauchy_term<pair>(vn, z[k], wn);
      }
      for (int64_t l = first * W; l < min((first + count) * W, p.L); ++l)
        p.y[row * p.L + l] = {T(sum[l / W - first].re[l % W]), T(sum[l / W - first].im[l % W])};
    }
  });
}

template <class T>
void cauchy_mult(const CauchyMult<T>& p) {
  if (p.B * p.L == 0) return;
  p.symmetric ? cauchy_rows<true>(p) : cauchy_rows<false>(p);
}

// (2): dv = sum_l conj(c) g, dw = conj(v) sum_l conj(c^2) g, c = 1 / (z - w); a pair adds conj(g) e and conj(g) e^2, e = 1 / (z - conj w).
// Lanes run along l, one row at a time: reads z and g once per pole.
template <bool pair, class T>
void cauchy_row_adjoint(const CauchyMultAdjoint<T>& p, const Points& points, int64_t row, double* g_row) {
  using V = Points::V;
  constexpr int W = Points::W;
  for (int64_t l = 0; l < points.vectors * W; ++l) {
    const cplx<T> g = l < p.L ? p.grad[row * p.L + l] : cplx<T>{};
    g_row[l / W * 2 * W + l % W] = double(g.re), g_row[l / W * 2 * W + W + l % W] = double(g.im);
  }
  InterruptCheck check;
  for (int64_t n = 0; n < p.N; ++n) {
    const cplx<T> v = p.v[row * p.N + n];
    const cplx<V> w = broadcast<V>(p.w[row * p.N + n]);
    cplx<V> first{}, second{}, other{};  // sums of the terms in c, in c^2, in e^2
    check(double(points.vectors * W) * 2 * kQuotientNs);
    for (int64_t k = 0; k < points.vectors; ++k) {
      const cplx<V> g = load_complex<V>(g_row + k * 2 * W);
      const cplx<V> c = conjugate(reciprocal(points[k] - w));
      first = first + c * g;
      second = second + c * c * g;
      if constexpr (pair) {
        const cplx<V> e = reciprocal(points[k] - conjugate(w)), conj_g = conjugate(g);
        first = first + e * conj_g;
        other = other + e * e * conj_g;
      }
    }
    const cplx<double> dv = sum(first), vd{double(v.re), double(v.im)};
    const cplx<double> dw = conjugate(vd) * (sum(second) + sum(other));
    p.dv[row * p.N + n] = {T(dv.re), T(dv.im)};
    p.dw[row * p.N + n] = {T(dw.re), T(dw.im)};
  }
}

// (3): dz = -sum conj(v c^2 + conj(v) e^2) g over poles and rows, in order.
template <bool pair, class T>
void cauchy_point_adjoint(const CauchyMultAdjoint<T>& p, const Points& points, int64_t k) {
  using V = Points::V;
  constexpr int W = Points::W;
  const cplx<V> z = points[k];
  cplx<V> total{};
  InterruptCheck check;
  for (int64_t row = 0; row < p.B; ++row) {
    check(double(p.N * W) * 2 * kQuotientNs);
    cplx<V> slope{};
    for (int64_t n = 0; n < p.N; ++n) {
      const cplx<V> v = broadcast<V>(p.v[row * p.N + n]), w = broadcast<V>(p.w[row * p.N + n]);
      const cplx<V> c = reciprocal(z - w);
      slope = slope + v * c * c;
      if constexpr (pair) {
        const cplx<V> e = reciprocal(z - conjugate(w));
        slope = slope + conjugate(v) * e * e;
      }
    }
    cplx<V> g{};
    for (int64_t i = 0; i < min<int64_t>(W, p.L - k * W); ++i) {
      g.re[i] = double(p.grad[row * p.L + k * W + i].re);
      g.im[i] = double(p.grad[row * p.L + k * W + i].im);
    }
    total = total + conjugate(slope) * g;
  }
  for (int64_t i = 0; i < min<int64_t>(W, p.L - k * W); ++i) p.dz[k * W + i] = {T(-total.re[i]), T(-total.im[i])};
}

template <class T>
void cauchy_mult_adjoint(const CauchyMultAdjoint<T>& p) {
  constexpr int W = Points::W;
  const Points points(p.z, p.L);
  parallel_for(p.B, p.threads, double(p.N * points.vectors * W) * 2 * kQuotientNs, [&](int64_t begin, int64_t end) {
    Scratch<double> g_row(points.vectors * 2 * W);
    for (int64_t row = begin; row < end; ++row)
      p.symmetric ? cauchy_row_adjoint<true>(p, points, row, g_row) : cauchy_row_adjoint<false>(p, points, row, g_row);
  });
  parallel_for(points.vectors, p.threads, double(p.B * p.N * W) * 2 * kQuotientNs, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k)
      p.symmetric ? cauchy_point_adjoint<true>(p, points, k) : cauchy_point_adjoint<false>(p, points, k);
  });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::s4
