// The only code that creates threads: a pool of parked threads, without OpenMP. A forked child creates its own. Work below ~50 us and
// nested work run serially. If each index's result depends on that index alone, results are bitwise the same for any number of threads.
#pragma once
#include <type_traits>

#include "core/run/memory.hpp"

namespace quatrefoil {

using RangeBody = void (*)(void* context, int64_t begin, int64_t end);

// Runs body over [0, n) in contiguous blocks, which threads take dynamically. item_ns is the expected cost of one index: it decides whether
// to use threads, and limits blocks to a few milliseconds so that interrupts are handled promptly. threads <= 0: the default.
void run_ranges(int64_t n, int threads, double item_ns, RangeBody body, void* context);

int default_threads();
void set_default_threads(int);
int threads_used(int requested);  // the default for requested <= 0

inline namespace QF_ISA {

template <class F>
void parallel_for(int64_t n, int threads, double item_ns, F&& f) {  // f(begin, end)
  run_ranges(
      n, threads, item_ns,
      [](void* context, int64_t begin, int64_t end) { (*static_cast<std::remove_reference_t<F>*>(context))(begin, end); }, &f);
}

// Lowers `lowest` to `index`; -1 means that there is no index yet. Safe to call from any thread.
inline void note_first(int64_t& lowest, int64_t index) {
  int64_t known = __atomic_load_n(&lowest, __ATOMIC_RELAXED);
  while ((known < 0 || index < known) && !__atomic_compare_exchange_n(&lowest, &known, index, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
}

}  // namespace QF_ISA
}  // namespace quatrefoil
