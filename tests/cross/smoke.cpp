// Compares a few kernels with plain loops, without Python, on processors where the suite does not run. `.ci/aarch64` builds and runs it.
#include <cmath>
#include <complex>
#include <cstdio>
#include <random>
#include <vector>

#include "cheb/scattered/args.hpp"
#include "core/host/isa.hpp"
#include "core/run/parallel.hpp"
#include "kron/product/args.hpp"
#include "ssm/convolution/args.hpp"
#include "ssm/scan/args.hpp"
#include "wos/walk/args.hpp"

QF_TABLE(ssm, scan)
QF_TABLE(ssm, convolution)
QF_TABLE(kron, product)
QF_TABLE(cheb, scattered)
QF_TABLE(wos, walk)

namespace {

using quatrefoil::cplx;
using std::int64_t;
using std::size_t;
using Exact = long double;  // references have more digits than any kernel

int passed = 0, failed = 0;
std::mt19937_64 random_bits(7);

double draw() { return std::uniform_real_distribution<double>(-1, 1)(random_bits); }
template <class T>
std::vector<T> numbers(int64_t n) {
  std::vector<T> x(size_t(n), T{});
  for (auto& value : x) value = T(draw());
  return x;
}
template <>
std::vector<cplx<float>> numbers(int64_t n) {
  std::vector<cplx<float>> x;
  for (int64_t i = 0; i < n; ++i) x.push_back({float(draw()), float(draw())});
  return x;
}

double distance(Exact a, Exact b) { return double(std::abs(a - b)); }
double distance(cplx<float> a, std::complex<double> b) { return std::abs(std::complex<double>(double(a.re), double(a.im)) - b); }

// Checks that every error is at most `bound` units in the last place of 1: the expected numbers are sums of a few numbers of size 1.
template <class T, class E>
void check(const char* name, const std::vector<T>& got, const std::vector<E>& expected, double bound, double eps) {
  double worst = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double off = distance(got[i], expected[i]);
    worst = off <= worst ? worst : off;  // NaN is kept
  }
  const bool good = worst <= bound * eps;
  good ? ++passed : ++failed;
  std::printf("%s %-22s %.1f eps, at most %.0f\n", good ? "ok  " : "FAIL", name, worst / eps, bound);
}
template <class T>
constexpr double kEps = sizeof(T) == 8 ? 0x1p-52 : 0x1p-23;

// h_t = a_t h_{t-1} + b_t, in contiguous rows. The error of one step is at most 2 eps, because |a| <= 1/2.
template <class E, class Wide>
void linear_scan(const char* name, void (*kernel)(const quatrefoil::ssm::scan::Linear<E>&), Wide (*wide)(E), double eps) {
  const int64_t rows = 5, length = 301;
  auto a = numbers<E>(rows * length), b = numbers<E>(rows * length), h = b;
  for (auto& value : a) value = quatrefoil::scaled(value, decltype(quatrefoil::inner(value, value))(0.5));
  quatrefoil::ssm::scan::Linear<E> p{a.data(), b.data(), nullptr, h.data(), {}, false, 2};
  p.rows.rank = 1, p.rows.shape[0] = rows, p.rows.rows = rows, p.rows.length = length;
  for (int operand : {p.kA, p.kB, p.kH}) p.rows.outer[operand][0] = length, p.rows.along[operand] = 1;
  kernel(p);
  std::vector<Wide> expected;
  for (int64_t i = 0; i < rows * length; ++i)
    expected.push_back(wide(b[size_t(i)]) + (i % length ? wide(a[size_t(i)]) * expected.back() : Wide{}));
  check(name, h, expected, 16, eps);
}

template <class T>
void convolution(int64_t L) {
  const int64_t B = 3, H = 2, Lk = L - 7;
  auto u = numbers<T>(B * H * L), k = numbers<T>(H * Lk), D = numbers<T>(H);
  std::vector<T> y(u.size());
  quatrefoil::ssm::convolution::kernels<T>().fft_conv({u.data(), k.data(), D.data(), nullptr, y.data(), B, H, L, Lk, 0, 2});
  std::vector<Exact> expected;
  for (int64_t row = 0; row < B * H; ++row)
    for (int64_t l = 0; l < L; ++l) {
      const int64_t h = row % H;
      Exact sum = Exact(D[size_t(h)]) * u[size_t(row * L + l)];
      for (int64_t j = 0; j <= l && j < Lk; ++j) sum += Exact(k[size_t(h * Lk + j)]) * u[size_t(row * L + l - j)];
      expected.push_back(sum);
    }
  check("fft_conv", y, expected, 8 * std::sqrt(double(L)), kEps<T>);  // a row of L products has the norm sqrt(L)
}

template <class T>
void kronecker() {
  const int64_t B = 3, m = 5, n = 4, q = 7;
  auto a = numbers<T>(m * n), b = numbers<T>(q * q), x = numbers<T>(B * n * q);
  const quatrefoil::kron::product::Matrix<T> list[] = {{a.data(), m, n}, {b.data(), q, q}};
  std::vector<T> y(size_t(B * m * q));
  const auto& kernels = quatrefoil::kron::product::kernels<T>();
  void* const prepared = kernels.prepare({list, 2, false});
  kernels.apply(prepared, {x.data(), y.data(), B, 2});
  kernels.discard(prepared);
  std::vector<Exact> expected;
  for (int64_t at = 0; at < B * m * q; ++at) {
    const int64_t batch = at / (m * q), i = at / q % m, j = at % q;
    Exact sum = 0;
    for (int64_t k = 0; k < n; ++k)
      for (int64_t l = 0; l < q; ++l)
        sum += Exact(a[size_t(i * n + k)]) * Exact(b[size_t(j * q + l)]) * Exact(x[size_t((batch * n + k) * q + l)]);
    expected.push_back(sum);
  }
  check("kron.matvec", y, expected, 32, kEps<T>);
}

// f(x, y) = sum core_ij T_p(x) factor_pi T_q(y) factor_qj, with T_p(cos t) = cos(p t).
template <class T>
void tucker() {
  const int64_t P = 40, n = 6, r = 3;
  auto core = numbers<T>(r * r), first = numbers<T>(n * r), second = numbers<T>(n * r), X = numbers<T>(2 * P);
  std::vector<T> f(static_cast<size_t>(P));
  quatrefoil::cheb::scattered::TuckerEval<T> p{};
  p.d = 2, p.core = core.data(), p.factors[0] = first.data(), p.factors[1] = second.data(), p.X = X.data(), p.f = f.data(), p.P = P;
  for (int axis = 0; axis < 2; ++axis) p.n[axis] = n, p.r[axis] = r, p.lo[axis] = -1, p.hi[axis] = 1;
  p.threads = 2;
  const bool inside = quatrefoil::cheb::scattered::kernels<T>().tucker_eval(p) < 0;
  std::vector<Exact> expected;
  for (int64_t point = 0; point < P; ++point) {
    Exact sum = inside ? 0 : NAN;
    for (int64_t i = 0; i < r; ++i)
      for (int64_t j = 0; j < r; ++j) {
        Exact at_x = 0, at_y = 0;
        for (int64_t k = 0; k < n; ++k) {
          at_x += Exact(first[size_t(k * r + i)]) * std::cos(Exact(k) * std::acos(Exact(X[size_t(2 * point)])));
          at_y += Exact(second[size_t(k * r + j)]) * std::cos(Exact(k) * std::acos(Exact(X[size_t(2 * point + 1)])));
        }
        sum += Exact(core[size_t(i * r + j)]) * at_x * at_y;
      }
    expected.push_back(sum);
  }
  check("tucker_eval", f, expected, 64, kEps<T>);
}

// The published words of Philox4x32-10 for a counter and key with all bits 1. With 33 counters, both lanes and single counters are tested.
void philox() {
  const std::vector<std::uint32_t> counters(4 * 33, 0xffffffffu);
  std::vector<std::uint32_t> words(counters.size());
  quatrefoil::wos::walk::table().philox(counters.data(), 33, 0xffffffffu, 0xffffffffu, words.data());
  const std::uint32_t published[] = {0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu};
  std::vector<double> expected;
  for (size_t i = 0; i < words.size(); ++i) expected.push_back(published[i % 4]);
  check("philox", words, expected, 0, 1);
}

double widened(double x) { return x; }
double widened_float(float x) { return double(x); }
std::complex<double> widened_complex(cplx<float> x) { return {double(x.re), double(x.im)}; }

}  // namespace

int main() {
  quatrefoil::choose_isa("");
  std::printf("instruction set %s\n", quatrefoil::name(quatrefoil::isa()));
  linear_scan("linear_scan float", quatrefoil::ssm::scan::kernels<float>().real.linear, widened_float, kEps<float>);
  linear_scan("linear_scan double", quatrefoil::ssm::scan::kernels<double>().real.linear, widened, kEps<double>);
  linear_scan("linear_scan complex", quatrefoil::ssm::scan::kernels<float>().complex.linear, widened_complex, kEps<float>);
  for (int64_t L : {20, 300, 1500}) convolution<float>(L), convolution<double>(L);
  kronecker<float>(), kronecker<double>();
  tucker<float>(), tucker<double>();
  philox();
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}
