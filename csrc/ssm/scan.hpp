// First-order linear recurrences along one axis.
#pragma once
#include "core/lanes.hpp"
#include "core/parallel.hpp"
#include "ssm/args_scan.hpp"
#include "ssm/formula.hpp"

namespace quatrefoil::ssm {
inline namespace QF_ISA {

constexpr double kStepNs = 1.0;  // one step of one scan

// One scan, or W of them in lanes that lie side by side: reads a and b once, writes h once, the state in a register.
template <class V, class E>
void scan_strided(const LinearScan<E>& p, const E* a, const E* b, const E* h0, E* h) {
  using P = LinearScan<E>;
  const auto& along = p.rows.along;
  const auto get = [](const E* x, int64_t across) {
    if constexpr (sizeof(V) == sizeof(E))
      return *x;
    else
      return across ? load<V>(x) : broadcast<V>(*x);
  };
  V state{};
  if (h0) state = get(h0, p.rows.across[P::kH0]);
  for (int64_t i = 0; i < p.rows.length; ++i) {
    const int64_t t = p.reverse ? p.rows.length - 1 - i : i;
    state = scan_step(get(a + t * along[P::kA], p.rows.across[P::kA]), state, get(b + t * along[P::kB], p.rows.across[P::kB]));
    __builtin_memcpy(h + t * along[P::kH], &state, sizeof(V));
  }
}

// W scans whose time axes are contiguous: squares of W x W numbers are transposed in registers, so every load and store is a full one.
template <class T>
void scan_transposed(const LinearScan<T>& p, const T* const* a, const T* const* b, const T* const* h0, T* const* h, int rows) {
  using P = LinearScan<T>;
  using V = Lanes<T>;
  constexpr int W = kLanes<T>;
  const bool constant = p.rows.along[P::kA] == 0;
  V state{}, fixed{};
  for (int i = 0; i < W; ++i) {
    if (p.h0) state[i] = *h0[i];
    if (constant) fixed[i] = *a[i];
  }
  const int64_t tiles = (p.rows.length + W - 1) / W;
  for (int64_t tile = 0; tile < tiles; ++tile) {
    const int64_t t = W * (p.reverse ? tiles - 1 - tile : tile), left = min<int64_t>(W, p.rows.length - t);
    V x[W], m[W];
    for (int i = 0; i < W; ++i) x[i] = load_first<V>(b[i] + t, left);
    transpose(x);
    if (!constant) {
      for (int i = 0; i < W; ++i) m[i] = load_first<V>(a[i] + t, left);
      transpose(m);
    }
    for (int64_t i = 0; i < left; ++i) {
      const int64_t s = p.reverse ? left - 1 - i : i;
      state = scan_step(constant ? fixed : m[s], state, x[s]);
      x[s] = state;
    }
    transpose(x);
    for (int i = 0; i < rows; ++i) store_first(h[i] + t, x[i], left);
  }
}

template <class E>
void linear_scan(const LinearScan<E>& p) {
  using P = LinearScan<E>;
  const auto& r = p.rows;
  if (r.rows * r.length * r.inner == 0) return;
  const auto at = [&](const E* base, int operand, int64_t row) { return base ? base + r.offset(operand, row) : nullptr; };
  if constexpr (std::is_floating_point<E>::value) {
    using V = Lanes<E>;
    constexpr int W = kLanes<E>;
    const bool unit = r.along[P::kB] == 1 && r.along[P::kH] == 1 && (r.along[P::kA] == 1 || r.along[P::kA] == 0);
    if (r.inner == 1 && unit && 4 * r.rows >= W) {
      parallel_for((r.rows + W - 1) / W, p.threads, double(r.length) * W * kStepNs, [&](int64_t begin, int64_t end) {
        for (int64_t group = begin; group < end; ++group) {
          const E *a[W], *b[W], *h0[W];
          E* h[W];
          const int rows = int(min<int64_t>(W, r.rows - group * W));
          for (int i = 0; i < W; ++i) {  // lanes without a row repeat the last one
            const int64_t row = group * W + min(i, rows - 1);
            a[i] = at(p.a, P::kA, row);
            b[i] = at(p.b, P::kB, row);
            h0[i] = at(p.h0, P::kH0, row);
            h[i] = p.h + r.offset(P::kH, row);
          }
          scan_transposed(p, a, b, h0, h, rows);
        }
      });
      return;
    }
    const auto lanes = [](int64_t stride) { return stride == 0 || stride == 1; };
    if (r.inner >= W && r.across[P::kB] == 1 && r.across[P::kH] == 1 && lanes(r.across[P::kA]) && lanes(r.across[P::kH0])) {
      const int64_t groups = (r.inner + W - 1) / W;
      parallel_for(r.rows * groups, p.threads, double(r.length) * W * kStepNs, [&](int64_t begin, int64_t end) {
        for (int64_t item = begin; item < end; ++item) {
          const int64_t row = item / groups, j = min(item % groups * W, r.inner - W);  // the last group overlaps: the same numbers twice
          const E* h0 = at(p.h0, P::kH0, row);
          scan_strided<V>(p, p.a + r.offset(P::kA, row) + j * r.across[P::kA], p.b + r.offset(P::kB, row) + j,
                          h0 ? h0 + j * r.across[P::kH0] : nullptr, p.h + r.offset(P::kH, row) + j);
        }
      });
      return;
    }
  }
  parallel_for(r.rows * r.inner, p.threads, double(r.length) * 4 * kStepNs, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t row = item / r.inner, j = item % r.inner;
      const E* h0 = at(p.h0, P::kH0, row);
      scan_strided<E>(p, p.a + r.offset(P::kA, row) + j * r.across[P::kA], p.b + r.offset(P::kB, row) + j * r.across[P::kB],
                      h0 ? h0 + j * r.across[P::kH0] : nullptr, p.h + r.offset(P::kH, row) + j * r.across[P::kH]);
    }
  });
}

// README (5), (6). The states are recomputed into da, then replaced by the gradient on the way back: no temporary.
template <class E>
void linear_scan_vjp(const LinearScanVjp<E>& p) {
  using P = LinearScanVjp<E>;
  using F = LinearScan<E>;
  const auto& r = p.rows;
  F states{p.a, p.b, p.h0, p.da, {}, p.reverse, p.threads};
  states.rows.rank = r.rank;
  states.rows.rows = r.rows;
  states.rows.length = r.length;
  states.rows.inner = r.inner;
  const int from[4] = {P::kA, P::kB, P::kH0, P::kDa};
  for (int o = 0; o < 4; ++o) {
    states.rows.along[o] = r.along[from[o]];
    states.rows.across[o] = r.across[from[o]];
    for (int i = 0; i < r.rank; ++i) states.rows.outer[o][i] = r.outer[from[o]][i];
  }
  for (int i = 0; i < r.rank; ++i) states.rows.shape[i] = r.shape[i];
  linear_scan(states);

  parallel_for(r.rows * r.inner, p.threads, double(r.length) * 6 * kStepNs, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t row = item / r.inner, j = item % r.inner;
      const auto at = [&](int operand) { return r.offset(operand, row) + j * r.across[operand]; };
      const E *a = p.a + at(P::kA), *grad = p.grad + at(P::kGrad);
      E *da = p.da + at(P::kDa), *db = p.db + at(P::kDb);
      const E before = p.h0 ? p.h0[at(P::kH0)] : E{};
      E mu{}, a_next{};
      for (int64_t i = r.length - 1; i >= 0; --i) {  // i counts steps in the direction of the scan
        const auto step = [&](int64_t s) { return p.reverse ? r.length - 1 - s : s; };
        const int64_t t = step(i);
        mu = scan_adjoint_step(a_next, mu, grad[t * r.along[P::kGrad]]);
        a_next = a[t * r.along[P::kA]];
        db[t * r.along[P::kDb]] = mu;
        da[t * r.along[P::kDa]] = scan_adjoint_a(mu, i ? da[step(i - 1) * r.along[P::kDa]] : before);
      }
      if (p.dh0) p.dh0[at(P::kDh0)] = r.length ? conjugate(a_next) * mu : E{};
    }
  });
}

template <class T>
constexpr ScanKernels<T> kScan = {linear_scan<T>, linear_scan_vjp<T>, linear_scan<cplx<T>>, linear_scan_vjp<cplx<T>>};

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm
