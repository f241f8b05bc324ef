// Loops, tiles and lanes of the state-space kernels. Compiled once per instruction set.
#include "core/lanes.hpp"
#include "core/parallel.hpp"
#include "core/right_angle.hpp"
#include "ssm/args.hpp"
#include "ssm/formula.hpp"

namespace quatrefoil::ssm {
inline namespace QF_ISA {

// ---------------------------------------------------------------- fft_conv

constexpr int64_t kDirectUpTo = 64;   // taps and samples: below it L^2 / W multiply-adds beat the shortest transform
constexpr int64_t kFewChannels = 16;  // with fewer, the batch is cut too, so that threads have work
constexpr double kTransformNs = 1.2;  // one number through one transform

template <class T>
T skip_weight(const T* D, int64_t h) {
  return D ? D[h] : T(0);
}

// README (1). Reads u and the kernels once, writes y once; all shifts hit L1.
template <class T>
void convolve_direct(const FftConv<T>& p, const T* u, int64_t h, T* padded, T* y) {
  using V = Lanes<T>;
  constexpr int W = kLanes<T>;
  T* const x = padded + kDirectUpTo + W;  // zeros on both sides
  const T* const k = p.k + h * p.Lk;
  const T* const kr = p.k_reverse + (p.k_reverse ? h * p.Lr : 0);
  const int64_t ahead = p.k_reverse ? min(p.Lr, p.L - 1) : 0;
  __builtin_memcpy(x, u, std::size_t(p.L) * sizeof(T));
  for (int64_t l = 0; l < p.L; l += W) {
    V sum = load<V>(x + l) * skip_weight(p.D, h);
    const int64_t taps = min(min(p.Lk, p.L), l + W);
    for (int64_t j = 0; j < taps; ++j) sum += load<V>(x + l - j) * k[j];
    for (int64_t j = 0; j < ahead; ++j) sum += load<V>(x + l + 1 + j) * kr[j];
    store_first(y + l, sum, p.L - l);
  }
}

// README (2): the spectrum of k_n - i k_reverse_{N-1-n}, which acts on both sides at once.
template <class T>
void kernel_spectrum(const RightAngle<T>& fft, const FftConv<T>& p, int64_t h, T* re, T* im) {
  const int64_t N = fft.length(), causal = min(p.Lk, p.L);
  if (!p.k_reverse) {
    fft.forward(p.k + h * p.Lk, causal, re, im);
    return;
  }
  __builtin_memcpy(re, p.k + h * p.Lk, std::size_t(causal) * sizeof(T));
  __builtin_memset(re + causal, 0, std::size_t(N - causal) * sizeof(T));
  __builtin_memset(im, 0, std::size_t(N) * sizeof(T));
  const T* kr = p.k_reverse + h * p.Lr;
  for (int64_t j = 0; j < min(p.Lr, p.L - 1); ++j) im[N - 1 - j] = -kr[j];
  fft.forward(re, im);
}

// Per row: reads u twice, writes y once; the spectrum (2N numbers) stays in cache, the kernel's is made once a channel.
template <class T>
void fft_conv(const FftConv<T>& p) {
  using V = Lanes<T>;
  if (p.B * p.H * p.L == 0) return;
  if (p.L <= kDirectUpTo) {
    constexpr int64_t room = 3 * kDirectUpTo + 3 * kLanes<T>;
    parallel_for(p.B * p.H, p.threads, double(p.L * (min(p.Lk, p.L) + p.Lr) / kLanes<T> + 20), [&](int64_t begin, int64_t end) {
      alignas(64) T padded[room] = {};
      for (int64_t row = begin; row < end; ++row) convolve_direct(p, p.u + row * p.L, row % p.H, padded, p.y + row * p.L);
    });
    return;
  }
  const RightAngle<T> fft(p.L);
  const int64_t N = fft.length();
  const int64_t cuts = p.H >= kFewChannels ? 1 : min(p.B, (kFewChannels + p.H - 1) / p.H);
  const double rows = double(p.B) / double(cuts);
  parallel_for(p.H * cuts, p.threads, (2 * rows + 1) * double(N) * kTransformNs, [&](int64_t begin, int64_t end) {
    Scratch<T> work(4 * N);
    T *k_re = work, *k_im = work + N, *re = work + 2 * N, *im = work + 3 * N;
    int64_t spectrum_of = -1;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t h = item / cuts, cut = item % cuts;
      if (spectrum_of != h) kernel_spectrum(fft, p, h, k_re, k_im);
      spectrum_of = h;
      for (int64_t b = p.B * cut / cuts; b < p.B * (cut + 1) / cuts; ++b) {
        const T* u = p.u + (b * p.H + h) * p.L;
        T* y = p.y + (b * p.H + h) * p.L;
        const T skip = skip_weight(p.D, h);
        fft.convolve(u, p.L, k_re, k_im, re, im, [&](int64_t l, V value, V, int64_t left) {
          if (p.D) value += load_first<V>(u + l, left) * skip;
          store_first(y + l, value, left);
        });
      }
    }
  });
}

// In blocks, so that a float32 sum over a long row keeps its digits.
template <class T>
double dot(const T* x, const T* y, int64_t n) {
  using V = Lanes<T>;
  constexpr int64_t kBlock = 1024;
  double total = 0;
  for (int64_t i = 0; i < n; i += kBlock) {
    V s{};
    for (int64_t j = i; j < min(n, i + kBlock); j += kLanes<T>) s += load_first<V>(x + j, n - j) * load_first<V>(y + j, n - j);
    total += double(sum(s));
  }
  return total;
}

template <class T>
void store_zeros(T* x, int64_t n) {
  if (n > 0) __builtin_memset(x, 0, std::size_t(n) * sizeof(T));
}

// dk and dk_reverse from the summed spectrum (README (3)): Re at n is lag n, -Im at N - 1 - j is lag -(j + 1).
template <class T>
void kernel_gradient(const RightAngle<T>& fft, const FftConvVjp<T>& p, int64_t h, T* re, T* im) {
  using V = Lanes<T>;
  const FftConv<T>& f = p.forward;
  const int64_t N = fft.length(), causal = min(f.Lk, f.L), ahead = min(f.Lr, f.L - 1);
  T* dk = p.dk + h * f.Lk;
  store_zeros(dk + causal, f.Lk - causal);
  if (!p.dk_reverse) {
    fft.inverse(re, im, causal, [&](int64_t l, V value, V, int64_t left) { store_first(dk + l, value, left); });
    return;
  }
  T* dkr = p.dk_reverse + h * f.Lr;
  store_zeros(dkr + ahead, f.Lr - ahead);
  fft.inverse(re, im, N, [&](int64_t l, V value, V imag, int64_t) {
    if (l < causal) store_first(dk + l, value, causal - l);
    for (int i = 0; i < kLanes<T>; ++i)
      if (const int64_t j = N - 1 - (l + i); j < ahead) dkr[j] = -imag[i];
  });
}

// Per row: three transforms; reads u and grad, writes du. The batch is summed in its order, so dk has the same bits for any thread count.
template <class T>
void fft_conv_vjp(const FftConvVjp<T>& p) {
  using V = Lanes<T>;
  const FftConv<T>& f = p.forward;
  if (f.B * f.H * f.L == 0) {
    store_zeros(p.dk, f.H * f.Lk);
    if (p.dD) store_zeros(p.dD, f.H);
    if (p.dk_reverse) store_zeros(p.dk_reverse, f.H * f.Lr);
    return;
  }
  const RightAngle<T> fft(f.L);
  const int64_t N = fft.length();
  parallel_for(f.H, f.threads, double((3 * f.B + 2) * N) * kTransformNs, [&](int64_t begin, int64_t end) {
    Scratch<T> work(8 * N);
    T *k_re = work, *k_im = work + N, *g_re = work + 2 * N, *g_im = work + 3 * N;
    T *u_re = work + 4 * N, *u_im = work + 5 * N, *sum_re = work + 6 * N, *sum_im = work + 7 * N;
    for (int64_t h = begin; h < end; ++h) {
      kernel_spectrum(fft, f, h, k_re, k_im);
      store_zeros(sum_re, 2 * N);
      double dD = 0;
      for (int64_t b = 0; b < f.B; ++b) {
        const int64_t row = (b * f.H + h) * f.L;
        const T *u = f.u + row, *grad = p.grad + row;
        fft.forward(grad, f.L, g_re, g_im);
        fft.forward(u, f.L, u_re, u_im);
        for (int64_t i = 0; i < N; i += kLanes<T>) {
          const V re = load<V>(g_re + i), im = load<V>(g_im + i);
          V s_re = re, s_im = im, d_re = re, d_im = im;
          multiply_conj(s_re, s_im, load<V>(u_re + i), load<V>(u_im + i));
          multiply_conj(d_re, d_im, load<V>(k_re + i), load<V>(k_im + i));
          store(sum_re + i, load<V>(sum_re + i) + s_re);
          store(sum_im + i, load<V>(sum_im + i) + s_im);
          store(g_re + i, d_re);
          store(g_im + i, d_im);
        }
        const T skip = skip_weight(f.D, h);
        fft.inverse(g_re, g_im, f.L, [&](int64_t l, V value, V, int64_t left) {
          if (f.D) value += load_first<V>(grad + l, left) * skip;
          store_first(p.du + row + l, value, left);
        });
        if (p.dD) dD += dot(u, grad, f.L);
      }
      kernel_gradient(fft, p, h, sum_re, sum_im);
      if (p.dD) p.dD[h] = T(dD);
    }
  });
}

// ---------------------------------------------------------------- linear_scan

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
constexpr Kernels<T> kKernels = {fft_conv<T>,        fft_conv_vjp<T>,      linear_scan<T>,
                                 linear_scan_vjp<T>, linear_scan<cplx<T>>, linear_scan_vjp<cplx<T>>};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm
