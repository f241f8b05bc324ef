#include "core/run/cache.hpp"

#include <map>
#include <memory>
#include <mutex>
#include <tuple>

#include "core/run/fork.hpp"
#include "core/run/memory.hpp"

namespace quatrefoil {
namespace {

struct Tables {
  std::map<std::tuple<int, int, int, int64_t>, void*> made;
  std::mutex mutex;
};
Tables& tables() {
  static auto* tables = new Tables;  // outlives every static destructor
  return *tables;
}
[[maybe_unused]] const bool held = (hold_across_forks(tables().mutex), true);

struct Release {
  void operator()(void* data) const noexcept { release(data); }
};

}  // namespace

const void* cached_table(const TableKey& key, std::size_t bytes, void (*fill)(void*, const TableKey&)) {
  auto& [made, mutex] = tables();
  const std::tuple order(key.kind, key.lanes, key.itemsize, key.n);
  {
    std::lock_guard<std::mutex> lock(mutex);
    const auto found = made.find(order);
    if (found != made.end()) return found->second;
  }
  std::unique_ptr<void, Release> fresh(allocate(bytes));
  fill(fresh.get(), key);  // without the lock: it may ask for other tables
  std::lock_guard<std::mutex> lock(mutex);
  const auto [at, is_first] = made.emplace(order, fresh.get());
  if (is_first) (void)fresh.release();
  return at->second;  // one that came second is freed after the lock
}

}  // namespace quatrefoil
