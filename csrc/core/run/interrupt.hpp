// Interruption of long computations: automatic between the blocks of a parallel_for, and within a block wherever a kernel checks.
#pragma once
#include "core/lanes/hd.hpp"

namespace quatrefoil {

// Thrown after a signal handler has raised an exception; the Python error is set.
struct Interrupted {};

// Called on the calling thread about every 20 ms; true stops the work by throwing Interrupted. Set by the Python module.
extern bool (*interrupt_poll)();

// Reports about `ns` of work. After every 0.1 ms of reported work, throws Interrupted if the work must stop. Call it between tiles, passes
// or rows, not for every element. Because it throws, a kernel must release everything in destructors.
void check_interrupt(double ns);

inline namespace QF_ISA {

// The same for steps so short that a function call would be noticeable: costs one addition and one comparison per step. A total below
// kEveryNs is never reported.
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

// Calls f(begin, end) for the parts of [begin, end) in order. Each takes about kPartNs; all lengths but the last are multiples of `unit`.
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
