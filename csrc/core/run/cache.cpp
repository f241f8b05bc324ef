#include "core/run/cache.hpp"

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>
#include <vector>

#include "core/run/fork.hpp"
#include "core/run/memory.hpp"

namespace quatrefoil {
namespace {

struct Release {
  void operator()(void* data) const noexcept { release(data); }
};
using Data = std::unique_ptr<void, Release>;

}  // namespace

struct CacheEntry {
  void* data = nullptr;
  std::size_t bytes = 0;
  std::int64_t last_use = 0;
  std::atomic<std::int64_t> users{0};  // increased only under the mutex
};

namespace {

struct Tables {
  std::map<std::tuple<int, int, int, int64_t>, CacheEntry> by_key;
  std::size_t bytes = 0;
  std::int64_t uses = 0;
  std::mutex mutex;

  CacheEntry* hold(CacheEntry& entry) {
    ++entry.users;
    entry.last_use = ++uses;
    return &entry;
  }
  // Removes unused tables until the rest is small enough.
  std::vector<Data> evict() {
    std::vector<Data> evicted;
    while (bytes > kMaxTableBytes && by_key.size() > kMinTables) {
      const auto age = [](const auto& of) { return of.second.users == 0 ? of.second.last_use : INT64_MAX; };
      const auto oldest = std::min_element(by_key.begin(), by_key.end(), [&](const auto& a, const auto& b) { return age(a) < age(b); });
      if (oldest->second.users != 0) break;
      evicted.emplace_back(oldest->second.data);
      bytes -= oldest->second.bytes;
      by_key.erase(oldest);
    }
    return evicted;
  }
};
Tables& tables() {
  static auto* tables = new Tables;  // outlives every static destructor
  return *tables;
}
[[maybe_unused]] const bool registered = (hold_across_forks(tables().mutex), true);

}  // namespace

CacheEntry* hold_table(const TableKey& key, std::size_t bytes, void (*fill)(void*, const TableKey&)) {
  Tables& all = tables();
  const std::tuple order(key.kind, key.lanes, key.itemsize, key.n);
  {
    std::lock_guard<std::mutex> lock(all.mutex);
    const auto at = all.by_key.find(order);
    if (at != all.by_key.end()) return all.hold(at->second);
  }
  Data fresh(allocate(bytes));
  fill(fresh.get(), key);     // without the lock: it may request other tables
  std::vector<Data> evicted;  // freed without the lock, because that takes another one
  std::lock_guard<std::mutex> lock(all.mutex);
  const auto [at, is_first] = all.by_key.try_emplace(order);
  CacheEntry* const entry = all.hold(at->second);
  if (!is_first) return entry;
  entry->data = fresh.release(), entry->bytes = bytes;
  all.bytes += bytes;
  evicted = all.evict();
  return entry;
}

const void* data_of(const CacheEntry* entry) noexcept { return entry->data; }

void release_table(CacheEntry* entry) noexcept { --entry->users; }

}  // namespace quatrefoil
