#include "core/run/fork.hpp"

#include <pthread.h>

#include <utility>
#include <vector>

namespace quatrefoil {
namespace {

struct Held {
  std::mutex registering;
  std::vector<std::pair<std::mutex*, void (*)()>> mutexes;
};
Held& held() {
  static auto* held = new Held;  // outlives every static destructor
  return *held;
}

void before() {
  held().registering.lock();
  for (auto& [mutex, in_child] : held().mutexes) mutex->lock();
}
void after(bool child) {
  for (auto& [mutex, in_child] : held().mutexes) {
    if (child && in_child) in_child();
    mutex->unlock();
  }
  held().registering.unlock();
}

}  // namespace

void hold_across_forks(std::mutex& mutex, void (*in_child)()) {
  static const int hooked = pthread_atfork(before, [] { after(false); }, [] { after(true); });
  (void)hooked;
  std::lock_guard<std::mutex> lock(held().registering);
  held().mutexes.emplace_back(&mutex, in_child);
}

}  // namespace quatrefoil
