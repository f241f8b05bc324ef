#include "core/run/memory.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

#include "core/run/fork.hpp"

namespace quatrefoil {
namespace {

constexpr std::size_t kHugePage = 2 << 20;

// The header of a block from `allocate`.
struct alignas(64) Block {
  std::size_t bytes;  // mapped bytes including the header; 0 for a block from malloc
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kCaches = false;  // a sanitizer cannot check bounds within a mapping
#else
constexpr bool kCaches = true;
#endif

std::size_t round_up_to(std::size_t n, std::size_t unit) { return (n + unit - 1) / unit * unit; }

// Maps whole pages. A block of at least one huge page is aligned to a huge page.
Block* map(std::size_t bytes) {
  const std::size_t length = bytes >= kHugePage ? bytes + kHugePage : bytes;
  void* const mapping = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) throw std::bad_alloc();
  auto begin = reinterpret_cast<std::uintptr_t>(mapping);
  if (length != bytes) {
    const std::uintptr_t start = round_up_to(begin, kHugePage), end = start + bytes;
    if (start > begin) munmap(mapping, start - begin);
    munmap(reinterpret_cast<void*>(end), begin + length - end);
    begin = start;
  }
  auto* const block = reinterpret_cast<Block*>(begin);
  advise_huge_pages(block, bytes);
  block->bytes = bytes;
  return block;
}

class Pool {
 public:
  Pool() { blocks_.reserve(kMaxCached / kSmallestCached + 2); }  // so that `keep` never allocates
  Block* take(std::size_t bytes) {                               // the smallest block that is at most a quarter too large, or null
    std::lock_guard<std::mutex> lock(mutex_);
    auto best = blocks_.end();
    for (auto b = blocks_.begin(); b != blocks_.end(); ++b)
      if ((*b)->bytes >= bytes && (*b)->bytes <= bytes + bytes / 4 && (best == blocks_.end() || (*b)->bytes <= (*best)->bytes)) best = b;
    if (best == blocks_.end()) return nullptr;
    Block* const block = *best;
    blocks_.erase(best);
    bytes_ -= block->bytes;
    return block;
  }
  void keep(Block* block) noexcept {
    std::lock_guard<std::mutex> lock(mutex_);
    if (block->bytes > kMaxCached / 2) return drop(block);
    offer(block);
    blocks_.push_back(block);
    bytes_ += block->bytes;
    while (bytes_ > kMaxCached) {  // oldest first
      bytes_ -= blocks_.front()->bytes;
      drop(blocks_.front());
      blocks_.erase(blocks_.begin());
    }
  }
  std::mutex& mutex() { return mutex_; }

 private:
  // Lets the system reclaim the pages (except the header's) when memory runs short; until then they are reused without a fault.
  static void offer(Block* block) noexcept {
#if defined(MADV_FREE)
    if (block->bytes >= 2 * kHugePage) (void)madvise(reinterpret_cast<char*>(block) + kHugePage, block->bytes - kHugePage, MADV_FREE);
#else
    (void)block;
#endif
  }
  static void drop(Block* block) noexcept { munmap(block, block->bytes); }

  std::mutex mutex_;
  std::vector<Block*> blocks_;
  std::size_t bytes_ = 0;
};

Pool& pool() {
  static auto* pool = new Pool;  // outlives every static destructor
  return *pool;
}
[[maybe_unused]] const bool registered = (hold_across_forks(pool().mutex()), true);

}  // namespace

void* allocate(std::size_t bytes) {
  if (bytes > SIZE_MAX / 2) throw std::bad_alloc();
  Block* block;
  if (kCaches && bytes >= kSmallestCached) {
    const std::size_t wanted = round_up_to(bytes + sizeof(Block), 4096);
    block = pool().take(wanted);
    if (!block) block = map(wanted);
  } else {
    block = static_cast<Block*>(std::aligned_alloc(alignof(Block), round_up_to(bytes + sizeof(Block), alignof(Block))));
    if (!block) throw std::bad_alloc();
    block->bytes = 0;
  }
  return block + 1;
}

void release(void* data) noexcept {
  if (!data) return;
  Block* const block = static_cast<Block*>(data) - 1;
  if (block->bytes)
    pool().keep(block);
  else
    std::free(block);
}

void advise_huge_pages(void* data, std::size_t bytes) noexcept {
#if defined(MADV_HUGEPAGE)
  const auto begin = round_up_to(reinterpret_cast<std::uintptr_t>(data), kHugePage);
  const auto end = (reinterpret_cast<std::uintptr_t>(data) + bytes) / kHugePage * kHugePage;
  if (end > begin) (void)madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)data, (void)bytes;
#endif
}

}  // namespace quatrefoil
