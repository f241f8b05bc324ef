// Harmonic coefficients of u on balls, from walks that start at the centres. README, Harmonic caching.
#pragma once
#include "wos/walk/harmonics.hpp"
#include "wos/walk/rounds.hpp"

namespace quatrefoil::wos::walk {
inline namespace QF_ISA {

// The radii of the first balls around points [i, end) of an instance, for at most as many points as lanes.
template <class V, class Domain>
void first_radii(const Walk<Element<V>>& p, const Domain& domain, int64_t instance, int64_t i, int64_t end, double* radius) {
  using T = Element<V>;
  constexpr int W = kWidth<V>, D = Domain::D;
  alignas(64) T at[D][W], r[W];
  for (int l = 0; l < W; ++l)
    for (int j = 0; j < D; ++j) at[j][l] = p.start[(instance * p.N + min(i + l, end - 1)) * D + j];
  V x[D];
  for (int j = 0; j < D; ++j) x[j] = load<V>(at[j]);
  V seen = domain.look(x, Bits<V>{} - 1).radius;
  const T extent = T(p.frame[instance * (D + 2) + D]), screening = T(p.screening) * extent * extent;
  if (screening > 0) seen = lower(seen, broadcast<V>(T(kMaxScreening) / square_root(screening)));
  store(r, seen * T(kShrunk));
  for (int l = 0; i + l < end; ++l) radius[instance * p.N + i + l] = double(r[l]);
}

template <class T>
void balls(const Balls<T>& q) {
  const Walk<T>& p = q.forward;
  using V = Lanes<T>;
  const int64_t blocks = (p.N + kWidth<V> - 1) / kWidth<V>;
  parallel_for(p.B * blocks, p.threads, kWidth<V> * kStepNs, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t b = item / blocks, i = item % blocks * kWidth<V>;
      with_inside<V>(p, b, [&](const auto& domain) { first_radii<V>(p, domain, b, i, min(p.N, i + kWidth<V>), q.radius); });
    }
  });
}

constexpr int kAbreast = 8;  // walks whose harmonics are evaluated together, on every instruction set

// The first directions (13) of walks [walk, walk + kAbreast) of a point.
template <class T, int D>
void leaving(const Walk<T>& p, int64_t instance, int64_t point, int64_t walk, Lanes<double, kAbreast> (&n)[D]) {
  using V = Lanes<double, kVectorBytes / 8>;
  using U = Words<V>;
  constexpr int W = kWidth<V>;
  static_assert(kAbreast % W == 0);
  for (int first = 0; first < kAbreast; first += W) {
    uint32_t pairs[W];
    for (int l = 0; l < W; ++l) pairs[l] = uint32_t((walk + first + l) >> 1);
    U words[4] = {U{} + kFirstStream, load<U>(pairs), U{} + uint32_t(p.first_point + point), U{} + uint32_t(p.first_instance + instance)};
    philox(words, p.key0, p.key1);
    V own[D];
    direction<V>(words[0], words[1], own);
    for (int j = 0; j < D; ++j)
      for (int l = 0; l < W; ++l) n[j][first + l] = (walk + first + l) % 2 ? -own[j][l] : own[j][l];
  }
}

// The mean coefficients of each sample of a point. A sample has `walks` walks, a power of two. u = values * scale.
template <class T, int D>
void expand_point(const Expand<T>& q, const Harmonics<D>& basis, int64_t instance, int64_t point, int64_t first, int64_t samples,
                  double scale, const double* values, Lanes<double, kAbreast>* workspace, double* means) {
  using V = Lanes<double, kAbreast>;
  const Walk<T>& p = q.forward;
  const int64_t walks = p.walks / q.samples, count = basis.count(), all = walks * samples;
  const double reference = q.reference[instance * p.N + point];
  V *const y = workspace, *const sums = workspace + count;
  for (int64_t w = 0; w < all; w += kAbreast) {
    V n[D], u{}, excess{};
    leaving(p, instance, point, first + w, n);
    basis.evaluate(n, y);
    for (int l = 0; l < min<int64_t>(kAbreast, all - w); ++l) u[l] = values[w + l] * scale, excess[l] = u[l] - reference;
    if (w % walks == 0)
      for (int64_t c = 0; c < count; ++c) sums[c] = V{};
    sums[0] += u;
    for (int64_t c = 1; c < count; ++c) sums[c] += excess * y[c];
    if (walks >= kAbreast && (w + kAbreast) % walks) continue;
    const int64_t together = min<int64_t>(walks, kAbreast);
    for (int64_t l = 0; l < kAbreast && w + l < all; l += together) {
      double* const to = means + (w + l) / walks * count;
      for (int64_t c = 0; c < count; ++c) {
        double total = 0;
        for (int64_t k = l; k < l + together; ++k) total += sums[c][k];
        to[c] = total / double(walks);
      }
    }
  }
}

template <class T, int D>
void expand_round(const Expand<T>& q, const Round& r, const Harmonics<D>& basis, const double* radius, const double* values) {
  const Walk<T>& p = q.forward;
  const int64_t walks = p.walks / q.samples, here = r.slots.walks / walks, first_sample = (r.slots.first_walk - p.first_walk) / walks;
  parallel_for(r.slots.points, p.threads, double(r.slots.walks * basis.count()), [&](int64_t begin, int64_t end) {
    Scratch<Lanes<double, kAbreast>> workspace(2 * basis.count());
    for (int64_t i = begin; i < end; ++i) {
      const int64_t point = r.slots.first_point + i, row = r.instance * p.N + point;
      const double extent = p.frame[r.instance * (D + 2) + D], z2 = radius[row] * radius[row] * p.screening * extent * extent;
      expand_point<T, D>(q, basis, r.instance, point, r.slots.first_walk, here, bessel_series(D - 2, 0.25 * z2), values + i * r.slots.walks,
                         workspace, q.coefficients + (row * q.samples + first_sample) * basis.count());
    }
  });
}

// Memory: at most kRound values, or those of one sample if there are more. Each round has whole samples of a group of centres.
template <class T>
void expand(const Expand<T>& q) {
  const Walk<T>& p = q.forward;
  if (p.B * p.N == 0) return;
  const int64_t walks = p.walks / q.samples, max_samples = max<int64_t>(1, (kRound / 4) / walks);  // samples per round
  const int64_t samples = min(max_samples, q.samples), points = min(p.N, max<int64_t>(1, max_samples / samples));
  const int64_t size = points * samples * walks;
  Scratch<double> values(size * p.channels());
  Scratch<uint32_t> marks(size);
  Scratch<double> radius(p.B * p.N);
  const Harmonics<2> plane(p.dimension == 2 ? q.modes : 0);
  const Harmonics<3> space(p.dimension == 3 ? q.modes : 0);
  balls(Balls<T>{p, radius});
  for (int64_t i = 0; i < p.B * p.N * 3; ++i) p.counts[i] = 0;
  for (int64_t b = 0; b < p.B; ++b) {
    for (int64_t n = 0; n < p.N; n += points)
      for (int64_t s = 0; s < q.samples; s += samples) {
        const int64_t now = min(samples, q.samples - s) * walks;
        const Round r{b, b + 1, {n, min(points, p.N - n), p.first_walk + s * walks, now}};
        walk_round(p, r, values, marks);
        if (p.dimension == 2)
          expand_round<T, 2>(q, r, plane, radius, values);
        else
          expand_round<T, 3>(q, r, space, radius, values);
        for (int64_t i = 0; i < r.total(); ++i) add_mark(marks[i], p.counts + 3 * (b * p.N + n + i / now));
      }
  }
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
