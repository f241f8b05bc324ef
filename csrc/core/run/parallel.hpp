// The only place where threads exist. A small parked pool: no OpenMP runtime, rebuilt in a forked child, serial below ~50 us of work or
// inside itself. Results must depend on the index alone; then they are the same bits for any number of threads.
#pragma once
#include <type_traits>

#include "core/run/memory.hpp"

namespace quatrefoil {

using RangeBody = void (*)(void* context, int64_t begin, int64_t end);

// Runs body over [0, n) in contiguous blocks, which the threads take as they come. item_ns is the expected cost of one index: it decides
// whether threads pay, and cuts blocks so short that an interrupt is answered within a few milliseconds. threads <= 0: the default.
void run_ranges(int64_t n, int threads, double item_ns, RangeBody body, void* context);

int default_threads();
void set_default_threads(int);
int threads_used(int asked);  // the default where asked <= 0

inline namespace QF_ISA {

template <class F>
void parallel_for(int64_t n, int threads, double item_ns, F&& f) {  // f(begin, end)
  run_ranges(
      n, threads, item_ns,
      [](void* context, int64_t begin, int64_t end) { (*static_cast<std::remove_reference_t<F>*>(context))(begin, end); }, &f);
}

// `lowest` becomes the lowest index that any thread has found, whoever comes first; -1 before the first.
inline void note_first(int64_t& lowest, int64_t found) {
  int64_t known = __atomic_load_n(&lowest, __ATOMIC_RELAXED);
  while ((known < 0 || found < known) && !__atomic_compare_exchange_n(&lowest, &known, found, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
}

}  // namespace QF_ISA
}  // namespace quatrefoil
