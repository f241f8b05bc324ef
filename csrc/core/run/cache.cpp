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
  std::map<std::tuple<int, int, int, int64_t>, void*> by_key;
  std::mutex mutex;
};
Tables& tables() {
  static auto* tables = new Tables;  // outlives every static destructor
  return *tables;
}
[[maybe_unused]] const bool registered = (hold_across_forks(tables().mutex), true);

struct Release {
  void operator()(void* data) const noexcept { release(data); }
};

}  // namespace

const void* cached_table(const TableKey& key, std::size_t bytes, void (*fill)(void*, const TableKey&)) {
  auto& [by_key, mutex] = tables();
  const std::tuple order(key.kind, key.lanes, key.itemsize, key.n);
  {
    std::lock_guard<std::mutex> lock(mutex);
    const auto at = by_key.find(order);
    if (at != by_key.end()) return at->second;
  }
  std::unique_ptr<void, Release> fresh(allocate(bytes));
  fill(fresh.get(), key);  // without the lock: it may request other tables
  std::lock_guard<std::mutex> lock(mutex);
  const auto [at, is_first] = by_key.emplace(order, fresh.get());
  if (is_first) (void)fresh.release();
  return at->second;
}

}  // namespace quatrefoil
