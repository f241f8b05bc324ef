#include "py/cache_mutex.hpp"

#include "core/run/fork.hpp"

namespace quatrefoil {

std::mutex& cache_mutex() {
  static auto* mutex = new std::mutex;  // outlives every static destructor
  return *mutex;
}
[[maybe_unused]] static const bool registered = (hold_across_forks(cache_mutex()), true);

}  // namespace quatrefoil
