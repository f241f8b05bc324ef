#include "core/run/fork.hpp"

#include <pthread.h>

#include <utility>
#include <vector>

namespace quatrefoil {
namespace {

struct Registry {
  std::mutex registering;
  std::vector<std::pair<std::mutex*, void (*)()>> mutexes;
};
Registry& registry() {
  static auto* registry = new Registry;  // outlives every static destructor
  return *registry;
}

void before() {
  registry().registering.lock();
  for (auto& [mutex, in_child] : registry().mutexes) mutex->lock();
}
void after(bool child) {
  for (auto& [mutex, in_child] : registry().mutexes) {
    if (child && in_child) in_child();
    mutex->unlock();
  }
  registry().registering.unlock();
}

}  // namespace

void hold_across_forks(std::mutex& mutex, void (*in_child)()) {
  static const int hooked = pthread_atfork(before, [] { after(false); }, [] { after(true); });
  (void)hooked;
  std::lock_guard<std::mutex> lock(registry().registering);
  registry().mutexes.emplace_back(&mutex, in_child);
}

}  // namespace quatrefoil
