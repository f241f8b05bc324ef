#include "py/kept.hpp"

#include "core/run/fork.hpp"

namespace quatrefoil {

std::mutex& kept_mutex() {
  static auto* const mutex = [] {
    auto* const made = new std::mutex;  // outlives every static destructor
    hold_across_forks(*made);
    return made;
  }();
  return *mutex;
}
[[maybe_unused]] static const std::mutex& made_at_load = kept_mutex();

}  // namespace quatrefoil
