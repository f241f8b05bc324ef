#include "py/kept.hpp"

#include "core/run/fork.hpp"

namespace quatrefoil {

std::mutex& kept_mutex() {
  static auto* mutex = new std::mutex;  // outlives every static destructor
  return *mutex;
}
[[maybe_unused]] static const bool registered = (hold_across_forks(kept_mutex()), true);

}  // namespace quatrefoil
