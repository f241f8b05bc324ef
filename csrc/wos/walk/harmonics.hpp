// Harmonics on circles and spheres, and values inside a ball from its coefficients. README, Harmonic caching.
#pragma once
#include "core/run/memory.hpp"
#include "core/run/parallel.hpp"
#include "wos/walk/args.hpp"
#include "wos/walk/formula.hpp"

namespace quatrefoil::wos::walk {
inline namespace QF_ISA {

// README (17), sorted by degree. In space the factors of the recurrence are computed once.
template <int D>
class Harmonics {
 public:
  explicit Harmonics(int64_t modes) : modes_(modes), factors_(D == 3 ? 2 * (modes + 1) * (modes + 1) : 0) {
    for (int64_t m = 0; D == 3 && m <= modes; ++m)
      for (int64_t l = m; l <= modes; ++l) {
        const double ll = double(l * l), mm = double(m * m), before = double((l - 1) * (l - 1));
        double* const f = factors_ + 2 * (m * (modes + 1) + l);
        f[0] = l > m ? square_root((4 * ll - 1) / (ll - mm)) : m > 0 ? square_root((2.0 * double(m) + 1) / (2.0 * double(m))) : 1;
        f[1] = l > m + 1 ? square_root((before - mm) / (4 * before - 1)) : 0;
      }
  }
  int64_t count() const { return harmonics(D, modes_); }
  int64_t modes() const { return modes_; }

  // Evaluates at one unit vector, or at a SIMD vector of them.
  template <class V>
  void evaluate(const V (&n)[D], V* y) const {
    V c = V{} + 1.4142135623730951, s{};
    y[0] = V{} + 1.0;
    if constexpr (D == 2) {
      for (int64_t m = 1; m <= modes_; ++m) {
        rotate(n, c, s);
        y[2 * m - 1] = c, y[2 * m] = s;
      }
    } else {  // degree l starts at l^2: order 0, then the cosine and sine of each order
      V sectoral = V{} + 1.0;
      for (int64_t m = 0; m <= modes_; ++m) {
        const double* f = factors_ + 2 * (m * (modes_ + 1) + m);
        if (m > 0) rotate(n, c, s);
        sectoral = sectoral * f[0];
        V before{}, here = sectoral;
        for (int64_t l = m;; f += 2) {
          V* const row = y + l * l;
          if (m == 0)
            row[0] = here;
          else
            row[2 * m - 1] = here * c, row[2 * m] = here * s;
          if (++l > modes_) break;
          const V next = (n[2] * here - before * f[3]) * f[2];
          before = here;
          here = next;
        }
      }
    }
  }

 private:
  template <class V>
  static void rotate(const V (&n)[D], V& c, V& s) {
    const V next = c * n[0] - s * n[1];
    s = s * n[0] + c * n[1];
    c = next;
  }
  const int64_t modes_;
  Scratch<double> factors_;
};

// (18) The weights of a ball's coefficients in the value at `offset` from its centre, in units of the radius.
template <int D>
void weigh_harmonics(const Harmonics<D>& basis, const double* offset, double z2, double weight, double* y) {
  double n[D], rho2 = 0;
  for (int j = 0; j < D; ++j) rho2 += offset[j] * offset[j];
  const double rho = square_root(rho2);
  for (int j = 0; j < D; ++j) n[j] = rho > 0 ? offset[j] / rho : j == D - 1;
  basis.evaluate(n, y);
  double power = weight;
  for (int64_t l = 0; l <= basis.modes(); ++l, power *= rho) {
    const double half = double(D - 2 + 2 * l);
    const double radial = z2 > 0 ? power * bessel_series(half, 0.25 * z2 * rho2) / bessel_series(half, 0.25 * z2) : power;
    const int64_t first = l == 0 ? 0 : harmonics(D, l - 1), last = harmonics(D, l);
    for (int64_t c = first; c < last; ++c) y[c] *= radial;
  }
}

// Reads a ball's coefficients once per point.
template <int D>
void gather(const Gather& p) {
  using V = Lanes<double, kVectorBytes / 8>;
  constexpr int64_t W = kWidth<V>;
  const Harmonics<D> basis(p.modes);
  const int64_t count = basis.count();
  const double balls = p.N ? double(p.begin[p.N]) / double(p.N) : 0;
  parallel_for(p.N, p.threads, balls * double(count * (p.samples + 20)), [&](int64_t begin, int64_t end) {
    Scratch<double> y(count);
    for (int64_t i = begin; i < end; ++i) {
      double* const to = p.values + i * p.samples;
      for (int64_t s = 0; s < p.samples; ++s) to[s] = 0;
      for (int64_t k = p.begin[i]; k < p.begin[i + 1]; ++k) {
        weigh_harmonics<D>(basis, p.offset + k * D, p.z2[p.ball[k]], p.weight[k], y);
        const double* c = p.coefficients + p.ball[k] * p.samples * count;
        for (int64_t s = 0; s < p.samples; ++s, c += count) {
          V sums{};
          int64_t j = 0;
          for (; j + W <= count; j += W) sums += load<V>(c + j) * load<V>(y + j);
          double total = sum(sums);
          for (; j < count; ++j) total += c[j] * y[j];
          to[s] += total;
        }
      }
    }
  });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
