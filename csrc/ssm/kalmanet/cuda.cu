// Gated KalmaNet and its gradient on a GPU: README (1)-(17). One thread block per head loops over its tokens. The threads of a column
// update it together; only vectors need barriers.
#include "ssm/kalmanet/cuda.hpp"

namespace quatrefoil::ssm::kalmanet {
inline namespace QF_ISA {

// ---------------------------------------------------------------- forward

// U is transposed: column i is U[i, .], so that update and readout are one pass.
template <class T>
struct Head {
  using Solve = Regression<T, T, 1>;
  static constexpr int64_t kVectors = Solve::kVectors + 1;
  const Problem<T, T>& s;
  Solve solve;
  Square<T> U;
  T* v;

  __device__ Head(const Problem<T, T>& s, T* shared, T* workspace)
      : s(s), solve(s, shared, workspace), U{s.layout.block(3, shared, workspace), int(s.layout.pitch)}, v(solve.after()) {}

  __device__ void begin(int64_t head) {
    solve.begin(head);
    const T* const U0 = s.square(s.p.U0, head);
    for_columns<1, T>(solve.D, [&](int j, int i, T*) { U(j, i) = U0 ? U0[i * solve.D + j] : T(0); }, [](int, T*) {});
  }

  // Reads q, k, v once; writes y once.
  __device__ void token(int64_t i) {
    const int D = solve.D;
    const auto load = [&] {
      for_each(D, [&](int n) { solve.right[n] = s.p.q[i * D + n], solve.k[n] = s.p.k[i * D + n], v[n] = s.p.v[i * D + n]; });
    };
    solve.take(s.decay_H(i), load, [] {}, [](T) {});
    const T scale = T(1) / square_root(T(D)), alpha = s.alpha(i), e = s.decay_U(i);
    for_columns<1, T>(
        D,
        [&](int j, int n, T* sum) {
          const T mixed = multiply_add(T(scale * alpha), solve.x[j], T(scale * (1 - alpha) * solve.right[j]));  // (2)
          *sum = multiply_add(U(j, n) = multiply_add(e, U(j, n), T(solve.k[j] * v[n])), mixed, *sum);
        },
        [&](int n, T* sum) { s.p.y[i * D + n] = *sum; });
  }

  __device__ void finish(int64_t head) const {
    const int D = solve.D;
    T *const H_T = s.square(s.p.H_T, head), *const U_T = s.square(s.p.U_T, head);
    for_columns<1, T>(
        D,
        [&](int j, int i, T*) {
          if (H_T) H_T[j * D + i] = solve.H(j, i);
          if (U_T) U_T[i * D + j] = U(j, i);
        },
        [](int, T*) {});
  }
};

template <class T>
__global__ void __launch_bounds__(kThreads, 1) run_heads(const Problem<T, T> s, T* workspace) {
  QF_SHARED(T, shared);
  Head<T> b(s, shared, workspace);
  for (int64_t head = blockIdx.x; head < s.heads; head += gridDim.x) {
    b.begin(head);
    for (int64_t t = 0; t < s.p.length; ++t) b.token(s.token(head, t));
    b.finish(head);
  }
}

template <class T>
void gka(const Gka<T>& p) {
  Problem<T, T> s(p, p.H_T != nullptr, Head<T>::kVectors);
  if (s.heads == 0 || p.D == 0) return;
  const SeriesMemory<T> series(p, s.solver);
  s.series = series.series();
  const InitialState<T, T> initial(s);
  const Workspace<T> workspace(s.workspace());
  launch(run_heads<T>, s.blocks(), s.threads(), s.layout.shared(), s, workspace);
}

// ---------------------------------------------------------------- adjoint

// Values that the backward pass needs per token in addition to x, w and H k: (12), <dH, H>, <dU, U>.
struct Trace {
  double c, along_H, along_U;
};

// Computes in float64 for every array type. U is not transposed: column j is U[., j].
template <class T>
struct HeadAdjoint {
  using A = double;
  using Solve = Regression<T, A, 2>;
  static constexpr int64_t kVectors = Solve::kVectors + 7;
  const GkaAdjoint<T>& p;
  const Problem<T, A>& s;
  Solve solve;
  Square<A> U;
  A *v, *grad, *w, *stored_x, *product, *values, *k_after;  // stored_x: the rounded x
  int D;
  // (14), (16), all of the next token: sigma, <RH, e H_before>, <RU, e U_before>, decays.
  double sigma = 0, along_H = 0, along_U = 0, decay_H = 1, decay_U = 1;

  __device__ HeadAdjoint(const GkaAdjoint<T>& p, const Problem<T, A>& s, A* shared, A* workspace)
      : p(p), s(s), solve(s, shared, workspace), U{s.layout.block(3, shared, workspace), int(s.layout.pitch)}, D(solve.D) {
    v = solve.after(), grad = v + D, w = grad + D, stored_x = w + D, product = stored_x + D, values = product + D, k_after = values + D;
  }
  __device__ A* q() const { return solve.right; }
  __device__ A* readout() const { return solve.right + D; }
  __device__ A* x() const { return solve.x; }

  __device__ void begin(int64_t head) {
    solve.begin(head);
    const T* const U0 = s.square(s.p.U0, head);
    for_columns<1, A>(D, [&](int i, int j, A*) { U(i, j) = U0 ? A(U0[i * D + j]) : A(0); }, [](int, A*) {});
  }

  __device__ void load_token(int64_t i) const {
    const A scale = 1 / square_root(A(D));
    for_each(D, [&](int n) {
      q()[n] = A(s.p.q[i * D + n]), solve.k[n] = A(s.p.k[i * D + n]), v[n] = A(s.p.v[i * D + n]);
      grad[n] = scale * A(p.grad[i * D + n]);
    });
  }

  // Solves for x and w. Until the backward pass replaces them, dv stores x and dk stores H k.
  __device__ void forward(int64_t i, T* stored_w, Trace* trace) {
    const A e = s.decay_U(i), e_H = s.decay_H(i);
    const auto read_out = [&] {  // (11)
      for_columns<1, A>(
          D, [&](int n, int j, A* sum) { *sum = multiply_add(U(n, j) = multiply_add(e, U(n, j), A(v[n] * solve.k[j])), grad[n], *sum); },
          [&](int j, A* sum) { readout()[j] = *sum; });
    };
    const auto keep_product = [&](A kk) {
      for_each(D, [&](int n) { p.dk[i * D + n] = s.keeps_H ? T(multiply_add(e_H, solve.h[n], A(kk * solve.k[n]))) : T(0); });
    };
    solve.take(e_H, [&] { load_token(i); }, read_out, keep_product);
    const A alpha = s.alpha(i);
    if (p.dalpha) {
      const A sum = sum_over<A>(D, [&](int n, A sum) { return multiply_add(x()[D + n] - readout()[n], q()[n], sum); });
      if (threadIdx.x == 0) p.dalpha[i] = T(sum);
    }
    // Continues with the rounded x and w that are stored: the sums (16) cancel only if every term uses the same values.
    for_each(D, [&](int n) {
      const A whole = alpha * x()[D + n];
      const T rounded_w = s.solver == Solver::none ? T(0) : T(whole), rounded_x = T(x()[n]);  // without a solver, x = q for any H
      p.dq[i * D + n] = T(multiply_add(A(1 - alpha), readout()[n], whole));
      stored_w[n] = rounded_w, p.dv[i * D + n] = rounded_x;
      w[n] = A(rounded_w), stored_x[n] = A(rounded_x);
    });
    __syncthreads();
    Trace result{0, 0, sum_over<A>(D, [&](int n, A sum) { return multiply_add(readout()[n], mixed(alpha, n), sum); })};
    const bool solved = s.solver != Solver::none && !solve.zero();
    if (solved)
      for_columns<1, A>(
          D, [&](int j, int n, A* sum) { *sum = multiply_add(solve.H(j, n), stored_x[j], *sum); },
          [&](int n, A* sum) { product[n] = *sum * w[n]; });
    __syncthreads();
    if (solved) {
      const double wx = dot(D, w, stored_x) * s.p.ridge_strength;
      result.c = -wx / solve.norm, result.along_H = -total(product) - wx * solve.norm;
    }
    if (threadIdx.x == 0) *trace = result;
  }

  __device__ A total(const A* terms) const {
    return sum_over<A>(D, [terms](int n, A sum) { return sum + terms[n]; });
  }
  __device__ A mixed(A alpha, int n) const { return multiply_add(alpha, stored_x[n], A((1 - alpha) * q()[n])); }  // x~ (11)

  // Between the passes: replaces the final states by their gradients.
  __device__ void begin_backward(int64_t head) {
    const T *const grad_H = s.square(p.grad_H, head), *const grad_U = s.square(p.grad_U, head);
    const auto along = [&](const T* g, const Square<A>& S) {
      return sum_over<A>(D * D, [&](int at, A sum) { return multiply_add(A(g[at]), S(at / D, at % D), sum); });
    };
    sigma = 0, decay_H = decay_U = 1;
    along_H = grad_H && s.p.length ? along(grad_H, solve.H) : 0, along_U = grad_U && s.p.length ? along(grad_U, U) : 0;
    for_each(D, [&](int n) { k_after[n] = 0; });
    __syncthreads();
    for_columns<1, A>(
        D,
        [&](int j, int i, A*) {
          if (s.keeps_H) solve.H(j, i) = grad_H ? symmetric<A>(D, grad_H, j, i) : A(0);
          U(j, i) = grad_U ? A(grad_U[j * D + i]) : A(0);
        },
        [](int, A*) {});
  }

  // H contains N, and U contains RU. Reads and writes both once, and reads U a second time.
  __device__ void back(int64_t i, const T* stored_w, const Trace& trace) {
    const A alpha = s.alpha(i), e = decay_H, of_k = e * sigma;
    load_token(i);
    for_each(D, [&](int n) { stored_x[n] = A(p.dv[i * D + n]), solve.h[n] = A(p.dk[i * D + n]), w[n] = A(stored_w[n]); });
    __syncthreads();
    sigma = trace.c + e * e * sigma;
    for_columns<1, A>(  // (13), (14): RH k
        s.keeps_H ? D : 0,
        [&](int j, int n, A* sum) {
          const A N = multiply_add(A(k_after[j] * k_after[n]), of_k, A(e * solve.H(j, n)));
          *sum = multiply_add(solve.H(j, n) = multiply_add(A(-0.5), A(w[j] * stored_x[n] + stored_x[j] * w[n]), N), solve.k[j], *sum);
        },
        [&](int n, A* sum) { product[n] = multiply_add(A(sigma), solve.h[n], *sum); });
    for_columns<1, A>(  // (15)
        D,
        [&](int n, int j, A* sum) {
          *sum = multiply_add(U(n, j) = multiply_add(A(decay_U), U(n, j), A(grad[n] * mixed(alpha, j))), v[n], *sum);
        },
        [&](int j, A* sum) {
          const A of_H = s.keeps_H ? product[j] : A(0);
          p.dk[i * D + j] = T(multiply_add(A(2), of_H, *sum));
          product[j] = of_H * solve.k[j];
        });
    __syncthreads();
    for_columns<1, A>(
        D, [&](int j, int n, A* sum) { *sum = multiply_add(U(n, j), solve.k[j], *sum); },
        [&](int n, A* sum) { p.dv[i * D + n] = T(*sum), values[n] = v[n] * *sum; });
    for_each(D, [&](int n) { k_after[n] = solve.k[n]; });
    __syncthreads();
    decay_H = s.decay_H(i), decay_U = s.decay_U(i);
    along_H = decay_H == 0 ? 0 : along_H + trace.along_H - total(product);  // (16)
    along_U = decay_U == 0 ? 0 : along_U + trace.along_U - total(values);
    if (threadIdx.x) return;
    if (p.dgk) p.dgk[i] = T(along_H);
    if (p.dg) p.dg[i] = T(along_U);
  }

  // (17) The gradients of the initial states.
  __device__ void finish(int64_t head) const {
    T *const dH0 = s.square(p.dH0, head), *const dU0 = s.square(p.dU0, head);
    const T* const H0 = s.square(s.p.H0, head);
    const A e = decay_H, of_k = e * sigma, of_H = e * e * sigma;
    for_columns<1, A>(
        D,
        [&](int j, int i, A*) {
          if (dH0)
            dH0[j * D + i] =
                T(e * (s.keeps_H ? solve.H(j, i) : A(0)) + of_k * (k_after[i] * k_after[j]) + of_H * symmetric<A>(D, H0, j, i));
          if (dU0) dU0[j * D + i] = T(decay_U * U(j, i));
        },
        [](int, A*) {});
  }
};

template <class T>
__global__ void __launch_bounds__(kThreads, 1)
    run_heads_back(const GkaAdjoint<T> p, const Problem<T, double> s, double* workspace, T* ws, Trace* traces) {
  QF_SHARED(double, shared);
  HeadAdjoint<T> b(p, s, shared, workspace);
  const int64_t length = s.p.length;
  for (int64_t head = blockIdx.x; head < s.heads; head += gridDim.x) {
    T* const w = ws + head * length * s.p.D;
    Trace* const trace = traces + head * length;
    b.begin(head);
    for (int64_t t = 0; t < length; ++t) b.forward(s.token(head, t), w + t * s.p.D, trace + t);
    b.begin_backward(head);
    for (int64_t t = length - 1; t >= 0; --t) b.back(s.token(head, t), w + t * s.p.D, trace[t]);
    b.finish(head);
  }
}

template <class T>
void gka_adjoint(const GkaAdjoint<T>& p) {
  using A = double;
  Problem<T, A> s(p.forward, p.grad_H != nullptr, HeadAdjoint<T>::kVectors);
  const int64_t tokens = s.heads * s.p.length;
  T* const sums[] = {p.dalpha, p.dg, p.dgk};
  if (s.p.D == 0)  // empty sums
    for (T* const gates : sums) set_zero(gates, tokens);
  if (s.heads == 0 || s.p.D == 0) return;
  const SeriesMemory<A> series(p.forward, s.solver);
  s.series = series.series();
  const InitialState<T, A> initial(s);
  const Workspace<A> workspace(s.workspace());
  const Workspace<T> ws(tokens * s.p.D);
  const Workspace<Trace> traces(tokens);
  launch(run_heads_back<T>, s.blocks(), s.threads(), s.layout.shared(), p, s, workspace, ws, traces);
}

template <class T>
constexpr Kernels<T> kKernels = {gka<T>, gka_adjoint<T>};

extern const Table kernels;
const Table kernels = {kKernels<float>, kKernels<double>};
extern const char* const ops;
const char* const ops = "gka gka_vjp";

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::kalmanet
