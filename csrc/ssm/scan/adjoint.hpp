// The gradients of a linear scan: two scans and a product.
#pragma once
#include "ssm/scan/recurrence.hpp"

namespace quatrefoil::ssm::scan {
inline namespace QF_ISA {

// README (3) for n elements: da = mu conj(h_before). da may be h_before shifted by one element, because da replaces the states. Each state
// is read before it is overwritten: from the front if h_before is da + 1, from the back if it is da - 1.
template <bool from_front, class E>
void multiply_states(int64_t n, const E* mu, const E* h_before, E* da) {
  constexpr int W = kLanes<Part<E>>;
  using V = Lanes<Part<E>>;
  const auto lanes = [&](int64_t i) { store_pack<E, V>(da + i, factor_adjoint(load_pack<E, V>(mu + i), load_pack<E, V>(h_before + i))); };
  in_parts<W>(0, n, kStepNs, [&](int64_t begin, int64_t end) {  // counts from the front or from the back
    int64_t i = begin;
    if constexpr (from_front) {
      for (; i + W <= end; i += W) lanes(i);
      for (; i < end; ++i) da[i] = factor_adjoint(mu[i], h_before[i]);
    } else {
      for (; i + W <= end; i += W) lanes(n - i - W);
      for (; i < end; ++i) da[n - 1 - i] = factor_adjoint(mu[n - 1 - i], h_before[n - 1 - i]);
    }
  });
}

// README (2): writes mu, a scan of grad from the other end, to db.
template <class E>
void scan_gradient(const LinearAdjoint<E>& p) {
  using P = LinearAdjoint<E>;
  const auto& r = p.rows;
  if (r.length == 0) return;
  const int64_t last = p.reverse ? 0 : r.length - 1;  // where the scan ends and mu begins
  const auto at = [&](int o, int64_t t) { return t * r.along[o]; };
  parallel_for(r.rows, p.threads, double(r.inner), [&](int64_t row, int64_t end) {
    for (; row < end; ++row)
      for (int64_t j = 0; j < r.inner; ++j)
        p.db[r.offset(P::kDb, row) + j * r.across[P::kDb] + at(P::kDb, last)] =
            p.grad[r.offset(P::kGrad, row) + j * r.across[P::kGrad] + at(P::kGrad, last)];
  });
  // mu_t is multiplied by a_{t+1}: the scan is one step shorter, and its a begins one step after grad and db
  Linear<E> back{p.a, p.grad, p.grad + at(P::kGrad, last), p.db, rows_of(r, {P::kA, P::kGrad, P::kGrad, P::kDb}), !p.reverse, p.threads};
  back.rows.length -= 1;
  if (p.reverse)
    back.b += r.along[P::kGrad], back.h += r.along[P::kDb];
  else
    back.a += r.along[P::kA];
  run_any<kParts<E> == 2>(back);
}

// README (3) for one row: da and dh0 from mu in db and the states in da.
template <class E>
void finish_row(const LinearAdjoint<E>& p, int64_t row) {
  using P = LinearAdjoint<E>;
  const auto& r = p.rows;
  const auto base = [&](int o) { return r.offset(o, row); };
  E* const da = p.da + base(P::kDa);
  E* const db = p.db + base(P::kDb);
  const int64_t back = p.reverse ? 1 : -1, first = p.reverse ? r.length - 1 : 0, last = p.reverse ? 0 : r.length - 1;
  if (r.length > 1 && r.inner == 1 && r.along[P::kDa] == 1 && r.along[P::kDb] == 1) {
    p.reverse ? multiply_states<true>(r.length - 1, db, da + 1, da) : multiply_states<false>(r.length - 1, db + 1, da, da + 1);
  } else {
    const bool side_by_side = r.across[P::kDa] == 1 && r.across[P::kDb] == 1;
    InterruptCheck check;
    for (int64_t i = 0; i + 1 < r.length; ++i) {
      check(double(r.inner) * kStepNs);
      const int64_t t = last + i * back;
      E *to = da + t * r.along[P::kDa], *before = to + back * r.along[P::kDa], *mu = db + t * r.along[P::kDb];
      if (side_by_side)
        multiply_states<true>(r.inner, mu, before, to);
      else
        for (int64_t j = 0; j < r.inner; ++j)
          to[j * r.across[P::kDa]] = factor_adjoint(mu[j * r.across[P::kDb]], before[j * r.across[P::kDa]]);
    }
  }
  const auto start = [&](int64_t j) { return p.h0 ? p.h0[base(P::kH0) + j * r.across[P::kH0]] : E{}; };
  for (int64_t j = 0; j < r.inner; ++j) {
    const E mu = r.length ? db[first * r.along[P::kDb] + j * r.across[P::kDb]] : E{};
    if (r.length) da[first * r.along[P::kDa] + j * r.across[P::kDa]] = factor_adjoint(mu, start(j));
    if (p.dh0)
      p.dh0[base(P::kDh0) + j * r.across[P::kDh0]] =
          r.length ? conjugate(p.a[base(P::kA) + first * r.along[P::kA] + j * r.across[P::kA]]) * mu : E{};
  }
}

// README (2), (3). Three passes without a workspace: the states are recomputed into da; mu, a scan of grad from the other end, goes to db;
// then da = mu conj(h_before).
template <class E>
void linear_adjoint(const LinearAdjoint<E>& p) {
  using P = LinearAdjoint<E>;
  const auto& r = p.rows;
  linear(Linear<E>{p.a, p.b, p.h0, p.da, rows_of(r, {P::kA, P::kB, P::kH0, P::kDa}), p.reverse, p.threads});
  scan_gradient(p);
  parallel_for(r.rows, p.threads, double(r.length * r.inner) * kStepNs, [&](int64_t row, int64_t end) {
    for (; row < end; ++row) finish_row(p, row);
  });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::scan
