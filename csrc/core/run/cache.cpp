#include "core/run/cache.hpp"

#include <map>
#include <mutex>
#include <shared_mutex>
#include <tuple>

#include "core/run/parallel.hpp"

namespace quatrefoil {

const void* cached_table(const TableKey& key, std::size_t bytes, void (*fill)(void*, const TableKey&)) {
  using Order = std::tuple<int, int, int, int64_t>;
  static auto* tables = new std::map<Order, void*>;  // outlives every static destructor
  static auto* mutex = new std::shared_mutex;
  const Order order{key.kind, key.lanes, key.itemsize, key.n};
  {
    std::shared_lock<std::shared_mutex> lock(*mutex);
    const auto found = tables->find(order);
    if (found != tables->end()) return found->second;
  }
  void* fresh = allocate(bytes);
  fill(fresh, key);  // without the lock: it may ask for other tables
  std::unique_lock<std::shared_mutex> lock(*mutex);
  const auto [at, is_first] = tables->emplace(order, fresh);
  if (!is_first) release(fresh);
  return at->second;
}

}  // namespace quatrefoil
