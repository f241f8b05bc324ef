// Where a long computation is stopped: between the indices of a parallel_for by itself, inside a long one where a kernel asks.
#pragma once
#include "core/lanes/hd.hpp"

namespace quatrefoil {

// Thrown where a signal handler raised: the Python error is set.
struct Interrupted {};

// Asked on the calling thread about every 20 ms; true stops the work (Interrupted is thrown). Set by the Python module.
extern bool (*interrupt_poll)();

// Says that about so many ns of work are done, inside an index that may take long or outside of all; every now and then looks whether
// the call is to stop, and then throws Interrupted. Between tiles, passes or rows, never for every number; what a kernel holds has a
// destructor.
void check_interrupt(double ns);

inline namespace QF_ISA {

// The same for steps so short that a call would show: an addition and a comparison each. What took less than kEveryNs in all is forgotten.
class InterruptCheck {
 public:
  QF_HD void operator()(double ns) {
    if ((since_ += ns) < kEveryNs) return;
    check_interrupt(since_);
    since_ = 0;
  }

 private:
  static constexpr double kEveryNs = 5e3;
  double since_ = 0;
};

constexpr double kPartNs = 2e5;

// f(begin, end) for the parts of [begin, end), from the first to the last: each of about kPartNs and, but for the last, a multiple of
// `unit`.
template <int64_t unit = 1, class F>
QF_HD void in_parts(int64_t begin, int64_t end, double step_ns, F&& f) {
  const int64_t part = max<int64_t>(1, int64_t(kPartNs / (step_ns * unit))) * unit;
  while (begin < end) {
    const int64_t stop = end - begin > part ? begin + part : end;
    f(begin, stop);
    if (stop < end) check_interrupt(double(part) * step_ns);
    begin = stop;
  }
}

}  // namespace QF_ISA
}  // namespace quatrefoil
