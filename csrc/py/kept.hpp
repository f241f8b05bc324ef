// The lock of what objects keep between calls.
#pragma once
#include <mutex>

namespace quatrefoil {

// One for all of them, held across forks: for a look and an entry, never while a kernel runs.
std::mutex& kept_mutex();

}  // namespace quatrefoil
