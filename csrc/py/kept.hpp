// The lock of the state that objects keep between calls.
#pragma once
#include <mutex>

namespace quatrefoil {

// One for all, held across forks: for lookups and insertions, never while a kernel runs.
std::mutex& kept_mutex();

}  // namespace quatrefoil
