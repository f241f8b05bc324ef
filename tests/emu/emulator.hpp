// CUDA on the host, for tests: kernels from csrc/**/cuda.cu compiled by g++. Blocks run one after another, with one fiber per thread. Each
// warp runs alone to the next barrier of the block, in an order that the test selects, so that a missing barrier changes the result. Memory
// starts as NaN. ThreadSanitizer treats the blocks of a launch as concurrent. Not emulated: memory transactions, bank conflicts, occupancy,
// CUDA's rounding.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <mutex>
#include <new>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "fiber.hpp"
#include "runtime.hpp"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  explicit dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;

namespace quatrefoil::emulator {

enum class Order { forward, reverse, shuffled };
inline Order order = Order::forward;  // of blocks, warps and lanes
inline unsigned seed = 1;             // of the shuffles

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline std::vector<int> in_order(int n, std::mt19937& random) {
  std::vector<int> v(std::size_t(n), 0);
  std::iota(v.begin(), v.end(), 0);
  if (order == Order::reverse) std::reverse(v.begin(), v.end());
  if (order == Order::shuffled) std::shuffle(v.begin(), v.end(), random);
  return v;
}

class Block {
 public:
  static constexpr int kLanes = 32;

  static Block& current() {
    static Block block;
    return block;
  }

  // A launch: earlier work happens before each of its blocks, and every block happens before later work.
  void begin_launch() { arrive(&start_); }
  void end_launch() { depart(&end_); }
  void run(const std::function<void()>& body, std::size_t shared, std::mt19937& random);

  void* shared() { return shared_.get(); }
  int lane() const { return at_ % kLanes; }
  void barrier(int line) {
    Quiet quiet;
    threads_[at_].line = line;
    char* const met = &order_->barriers[threads_[at_].phase ^= 1];
    arrive(met);
    leave(State::at_barrier);
    depart(met);
  }
  // Exchanges v with the lanes of the mask and returns read(get): get(lane) points to the value of a lane, or is null outside of the mask.
  template <class T, class Read>
  T exchange(unsigned mask, T v, Read read) {
    static_assert(sizeof(T) <= sizeof(Thread::slot[0]));
    Quiet quiet;
    Thread& me = threads_[at_];
    if (!(mask >> lane() & 1)) throw Error("a shuffle whose mask lacks the lane that calls it");
    const int side = me.side ^= 1;  // two slots: a lane may be one exchange ahead
    std::memcpy(me.slot[side], &v, sizeof v);
    me.mask = mask;
    char* const met = &order_->warps[at_ / kLanes][side];
    arrive(met);
    leave(State::at_shuffle);
    depart(met);
    return read([&](int other) -> const T* {
      const bool in_mask = other >= 0 && other < kLanes && (mask >> other & 1);
      return in_mask ? reinterpret_cast<const T*>(threads_[at_ / kLanes * kLanes + other].slot[side]) : nullptr;
    });
  }

 private:
  enum class State { ready, at_barrier, at_shuffle, done };
  struct Thread {
    Fiber fiber;
    State state;
    unsigned mask;
    int side, phase;  // of the next shuffle and barrier
    int line;         // of the barrier it waits at
    alignas(16) unsigned char slot[2][16];
    std::exception_ptr error;
  };

  static void entry();
  void leave(State state) {
    threads_[at_].state = state;
    threads_[at_].fiber.leave(&main_, main_thread_);
  }
  void resume(int i) {
    at_ = i;
    threadIdx = {unsigned(i) % blockDim.x, unsigned(i) / blockDim.x % blockDim.y, unsigned(i) / (blockDim.x * blockDim.y)};
    threads_[i].fiber.resume(&main_);
    if (threads_[i].error) std::rethrow_exception(threads_[i].error);
  }
  void run_warp(int warp, const std::vector<int>& lanes);
  bool release_shuffle(int i);

  std::vector<Thread> threads_;
  ucontext_t main_;
  void* main_thread_ = nullptr;
  int at_ = 0;
  std::unique_ptr<unsigned char[]> shared_;
  const std::function<void()>* body_ = nullptr;
  struct Order {  // of the threads of one block
    char barriers[2], warps[32][2];
  };
  std::unique_ptr<Order> order_;
  char start_, end_;  // addresses that tell ThreadSanitizer the order of a launch and its blocks
};

inline void Block::entry() {
  Block& b = current();
  depart(&b.start_);
  try {
    (*b.body_)();
  } catch (...) {
    b.threads_[b.at_].error = std::current_exception();
  }
  {
    Quiet quiet;
    arrive(&b.end_);
    b.threads_[b.at_].state = State::done;
  }
  b.threads_[b.at_].fiber.leave(&b.main_, b.main_thread_);
}

// Releases the lanes of a shuffle once all lanes of its mask have arrived.
inline bool Block::release_shuffle(int i) {
  const unsigned mask = threads_[i].mask;
  const int first = i / kLanes * kLanes;
  for (int l = 0; l < kLanes; ++l)
    if (mask >> l & 1) {
      if (first + l >= int(threads_.size())) return false;
      const Thread& t = threads_[first + l];
      if (t.state != State::at_shuffle || t.mask != mask) return false;
    }
  for (int l = 0; l < kLanes; ++l)
    if (mask >> l & 1) threads_[first + l].state = State::ready;
  return true;
}

inline void Block::run_warp(int warp, const std::vector<int>& lanes) {
  const int n = int(threads_.size());
  for (bool moved = true; moved;) {
    moved = false;
    for (const int l : lanes)
      if (const int i = warp * kLanes + l; i < n && threads_[i].state == State::ready) resume(i), moved = true;
    for (int i = warp * kLanes; i < std::min(n, (warp + 1) * kLanes); ++i)
      if (threads_[i].state == State::at_shuffle && release_shuffle(i)) moved = true;
  }
}

inline void Block::run(const std::function<void()>& body, std::size_t shared, std::mt19937& random) {
  Quiet quiet;
  const std::size_t n = blockDim.x * blockDim.y * blockDim.z;
  main_thread_ = this_thread(), body_ = &body;
  shared_.reset(new unsigned char[shared]);
  order_.reset(new Order);  // new memory, which no other block has used
  std::memset(shared_.get(), 0xff, shared);
  if (threads_.size() != n) threads_ = std::vector<Thread>(n);
  for (Thread& t : threads_) {
    t.state = State::ready, t.mask = 0, t.side = t.phase = 0, t.error = nullptr;
    t.fiber.start(&Block::entry, &main_);
  }
  for (;;) {
    for (const int warp : in_order(int(n + kLanes - 1) / kLanes, random)) run_warp(warp, in_order(kLanes, random));
    std::size_t waiting = 0, alive = 0;
    for (const Thread& t : threads_) alive += t.state != State::done, waiting += t.state == State::at_barrier;
    if (!alive) break;
    if (waiting != alive)
      throw Error(std::to_string(waiting) + " of " + std::to_string(alive) + " threads wait at a barrier, the others in a shuffle");
    if (alive != n) throw Error("a barrier that " + std::to_string(n - alive) + " threads have skipped");
    for (Thread& t : threads_) {
      if (t.line != threads_[0].line)
        throw Error("threads wait at two barriers, in lines " + std::to_string(threads_[0].line) + " and " + std::to_string(t.line));
      t.state = State::ready;
    }
  }
  for (Thread& t : threads_) t.fiber.end();
}

inline void* shared_memory() { return Block::current().shared(); }

// Runs one launch at a time.
inline void launch(dim3 grid, dim3 block, std::size_t shared, const std::function<void()>& body) {
  static std::mutex mutex;
  const std::lock_guard<std::mutex> lock(mutex);
  if (block.x * block.y * block.z > 1024 || block.z > 64 || grid.y > 65535 || grid.z > 65535 || shared > 99 << 10)
    throw Error("a launch over the limits of a GPU: blocks of 1024 threads, grids of 65535 in y and z, 99 KB of shared memory");
  std::mt19937 random(seed);
  gridDim = grid, blockDim = block;
  Block::current().begin_launch();
  for (const int i : in_order(int(grid.x * grid.y * grid.z), random)) {
    const Quiet quiet;  // the blocks read this
    const auto at = unsigned(i);
    blockIdx = {at % grid.x, at / grid.x % grid.y, at / (grid.x * grid.y)};
    Block::current().run(body, shared, random);
  }
  Block::current().end_launch();
}

// The word of another lane; NaN if the mask lacks it.
inline unsigned shuffled(unsigned mask, unsigned v, int from, bool keep) {
  return Block::current().exchange(mask, v, [&](auto get) {
    const unsigned* const other = get(from);
    return keep ? v : other ? *other : 0xffffffffu;
  });
}

}  // namespace quatrefoil::emulator

inline void __syncthreads(int line = __builtin_LINE()) { quatrefoil::emulator::Block::current().barrier(line); }
inline unsigned long long atomicAdd(unsigned long long* to, unsigned long long by) { return __atomic_fetch_add(to, by, __ATOMIC_RELAXED); }
inline unsigned long long atomicMin(unsigned long long* to, unsigned long long with) {
  unsigned long long before = __atomic_load_n(to, __ATOMIC_RELAXED);
  while (with < before && !__atomic_compare_exchange_n(to, &before, with, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
  return before;
}
inline unsigned __shfl_sync(unsigned mask, unsigned v, int from) {
  return quatrefoil::emulator::shuffled(mask, v, from & (quatrefoil::emulator::Block::kLanes - 1), false);
}
inline unsigned __shfl_up_sync(unsigned mask, unsigned v, int by) {
  const int lane = quatrefoil::emulator::Block::current().lane();
  return quatrefoil::emulator::shuffled(mask, v, lane - by, lane < by);
}
inline unsigned __shfl_xor_sync(unsigned mask, unsigned v, int with) {
  const int lane = quatrefoil::emulator::Block::current().lane();
  return quatrefoil::emulator::shuffled(mask, v, lane ^ with, false);
}
