// Guards the state that objects cache between calls.
#pragma once
#include <mutex>

namespace quatrefoil {

// One mutex for all objects. Held across forks; taken for lookups and insertions, never while a kernel runs.
std::mutex& cache_mutex();

}  // namespace quatrefoil
