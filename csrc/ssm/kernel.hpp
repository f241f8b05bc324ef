// Kernels of diagonal state-space models and sums of exponentials, with their gradients. README (7)-(16).
#pragma once
#include "ssm/vandermonde.hpp"

namespace quatrefoil::ssm {
inline namespace QF_ISA {

constexpr int64_t kFewRows = 16;       // with fewer channels the length is cut too, so that threads have work
constexpr double kProductNs = 0.025;   // one multiply-add of the product
constexpr double kExponentialNs = 15;  // setup of one mode

// A long row in pieces of whole blocks of giant steps: by sizes alone, so that the bits do not depend on the threads.
struct Pieces {
  int64_t count, length;
};
inline Pieces pieces(int64_t H, int64_t L, int64_t J) {
  const int64_t unit = J * kGiants, units = (L + unit - 1) / unit;
  const int64_t wanted = H >= kFewRows ? 1 : (kFewRows + H - 1) / max<int64_t>(H, 1), each = (units + wanted - 1) / wanted;
  return {max<int64_t>((units + each - 1) / max<int64_t>(each, 1), 1), each * unit};
}
// f(begin, count) for the parts of [0, L) in piece k. Where a mode grows towards the end (DSS), the odd steps come first, so that the last
// giant step ends with it.
template <class F>
void for_parts(const Pieces& cut, int64_t k, int64_t L, int64_t J, bool odd_first, F&& f) {
  const int64_t odd = odd_first ? L % J : 0, begin = k * cut.length, end = min(begin + cut.length, L - odd);
  if (k == 0 && odd) f(0, odd);
  if (begin < end) f(odd + begin, end - begin);
}

// The kernel of one channel of an S4D layer, for all its outputs. One a thread: set a channel, then evaluate any part of it.
template <class T>
class ChannelKernel {
 public:
  explicit ChannelKernel(const S4dKernel<T>& p) : p_(p), modes_(p.N, p.M), sum_(modes_.n, p.M, p.L) {}
  void set(int64_t h) {
    modes_.discretise(p_.dt[h], p_.A + h * p_.N, p_.disc, p_.L);
    for (int64_t m = 0; m < p_.M; ++m) modes_.weigh(m, p_.C + (m * p_.H + h) * p_.N, p_.B ? p_.B + h * p_.N : nullptr);
    sum_.prepare(modes_, p_.disc == Disc::dss ? 1.0 : 2.0);
  }
  // out[m stride + l - begin] = K_l, begin <= l < begin + count.
  void evaluate(int64_t begin, int64_t count, T* out, int64_t stride) { sum_.evaluate(modes_, begin, count, out, stride); }
  const Modes& modes() const { return modes_; }
  int64_t J() const { return sum_.J; }

 private:
  const S4dKernel<T>& p_;
  Modes modes_;
  Vandermonde<T> sum_;
};

template <class T>
void s4d_kernel(const S4dKernel<T>& p) {
  if (p.M * p.H * p.L == 0) return;
  const int64_t J = baby_steps<T>(p.L);
  const Pieces cut = pieces(p.H, p.L, J);
  const double item = double(p.M * p.N) * double(min(cut.length, p.L)) * kProductNs + double(p.N) * kExponentialNs;
  parallel_for(p.H * cut.count, p.threads, item, [&](int64_t begin, int64_t end) {
    ChannelKernel<T> channel(p);
    for (int64_t at = begin, made = -1; at < end; ++at) {
      const int64_t h = at / cut.count;
      if (made != h) channel.set(h);
      made = h;
      for_parts(cut, at % cut.count, p.L, J, channel.modes().shifted,
                [&](int64_t first, int64_t count) { channel.evaluate(first, count, p.K + h * p.L + first, p.H * p.L); });
    }
  });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm
