#include "core/run/parallel.hpp"

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif
#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "core/run/fork.hpp"

namespace quatrefoil {

bool (*interrupt_poll)() = nullptr;

namespace {

constexpr double kSerialBelowNs = 50e3;  // a fork/join takes ~5 us
constexpr double kBlockNs = 5e6;         // between two looks at the stop flag
constexpr int64_t kBlocksEach = 4;       // blocks a thread would take if all were equally fast
constexpr auto kPollEvery = std::chrono::milliseconds(20);
constexpr int kSpins = 4000;  // ~10 us: the caller waits so long before it parks

std::atomic<int> configured_threads{1};
thread_local bool inside = false;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

// Numbers below the least normal one (1.2e-38, 2.2e-308) count as 0 while this lives: an Intel processor takes some 150 cycles for each,
// and what decays passes through thousands of them. Set around every body and on every thread, so that no bit depends on who computes it.
class FlushSubnormals {
 public:
#if defined(__SSE2__)
  FlushSubnormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }  // flush to zero, denormals are zero
  ~FlushSubnormals() { _mm_setcsr(before_); }

 private:
  const unsigned before_;
#elif defined(__aarch64__)
  FlushSubnormals() {
    __asm__ volatile("mrs %0, fpcr" : "=r"(before_));
    __asm__ volatile("msr fpcr, %0" : : "r"(before_ | (std::uint64_t(1) << 24)));
  }
  ~FlushSubnormals() { __asm__ volatile("msr fpcr, %0" : : "r"(before_)); }

 private:
  std::uint64_t before_;
#else
  FlushSubnormals() {}
#endif
  FlushSubnormals(const FlushSubnormals&) = delete;
  FlushSubnormals& operator=(const FlushSubnormals&) = delete;
};

// A range that several threads share: each takes the next block when it is done with one. Nobody waits for a thread that comes late,
// because its core is somebody else's.
struct Work {
  RangeBody body = nullptr;
  void* context = nullptr;
  int64_t n = 0, block = 1;
  std::atomic<int64_t> next{0};
  std::atomic<bool> stop{false};
  std::mutex failing;
  std::exception_ptr error;
  int64_t failed = 0;  // where: the error of the first block that has one is kept, whoever found it, for all blocks before it are finished

  void share(bool caller) {  // the caller polls for signals
    auto polled = std::chrono::steady_clock::now();
    while (!stop.load(std::memory_order_relaxed)) {
      const int64_t i = next.fetch_add(block, std::memory_order_relaxed);
      if (i >= n) return;
      try {
        const FlushSubnormals flush;
        body(context, i, std::min(i + block, n));
      } catch (...) {
        fail(i);
      }
      if (!caller || !interrupt_poll || i + block >= n) continue;
      const auto now = std::chrono::steady_clock::now();
      if (now - polled < kPollEvery) continue;
      polled = now;
      poll();
    }
  }
  void poll() {
    if (!interrupt_poll || !interrupt_poll()) return;
    try {
      throw Interrupted();
    } catch (...) {
      fail(-1);  // before all others: the Python error is set
    }
  }
  void finish() {
    if (error) std::rethrow_exception(error);
  }

 private:
  void fail(int64_t at) {
    std::lock_guard<std::mutex> lock(failing);
    if (!error || at < failed) error = std::current_exception(), failed = at;
    stop = true;
  }
};

class Pool {
 public:
  void run(Work& work, int threads) {
    grow(threads - 1);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      work_ = &work;
      threads_ = threads;
      ++generation_;
    }
    for (int t = 0; t < threads - 1; ++t) helpers_[std::size_t(t)]->wake.notify_one();  // only those who are asked: waking all cost 45 us
    inside = true;
    work.share(true);
    inside = false;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      work_ = nullptr;  // from here on nobody joins
    }
    for (int k = 0; k < kSpins && active_.load(std::memory_order_acquire); ++k) relax();
    std::unique_lock<std::mutex> lock(mutex_);
    while (!done_.wait_for(lock, kPollEvery, [&] { return active_.load() == 0; })) {
      lock.unlock();
      if (!work.stop) work.poll();
      lock.lock();
    }
  }
  std::mutex& caller() { return caller_; }

  ~Pool() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
    }
    for (auto& helper : helpers_) helper->wake.notify_one();
    for (auto& helper : helpers_) helper->thread.join();
  }

 private:
  struct Helper {
    std::condition_variable wake;
    std::thread thread;
  };

  void grow(int count) {
    while (int(helpers_.size()) < count) {
      const int t = int(helpers_.size()) + 1;
      helpers_.push_back(std::make_unique<Helper>());
      Helper& helper = *helpers_.back();
      helper.thread = std::thread([this, t, &helper, seen = generation_]() mutable { serve(t, helper.wake, seen); });
    }
  }
  void serve(int t, std::condition_variable& wake, std::uint64_t seen) {
    inside = true;
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      wake.wait(lock, [&] { return stop_ || generation_ != seen; });
      if (stop_) return;
      seen = generation_;
      Work* const work = work_;
      if (!work || t >= threads_) continue;
      ++active_;
      lock.unlock();
      work->share(false);
      lock.lock();
      if (--active_ == 0) done_.notify_one();
    }
  }

  std::mutex caller_, mutex_;
  std::condition_variable done_;
  std::vector<std::unique_ptr<Helper>> helpers_;
  std::atomic<int> active_{0};  // helpers at work
  std::uint64_t generation_ = 0;
  Work* work_ = nullptr;  // what may be joined
  int threads_ = 0;
  bool stop_ = false;
};

std::mutex gate;
std::unique_ptr<Pool>& slot() {
  static auto* pool = new std::unique_ptr<Pool>;  // outlives every static destructor
  return *pool;
}
// A forked child has no helper threads: it leaks the parent's pool, whose locks may be held, and makes its own when it first needs one.
Pool& pool() {
  static const bool hooked = (hold_across_forks(gate, [] { (void)slot().release(), inside = false; }), true);
  (void)hooked;
  std::lock_guard<std::mutex> lock(gate);
  if (!slot()) slot() = std::make_unique<Pool>();
  return *slot();
}

}  // namespace

int default_threads() { return configured_threads; }
void set_default_threads(int n) { configured_threads = n; }
int threads_used(int asked) { return asked > 0 ? asked : default_threads(); }

void run_ranges(int64_t n, int threads, double item_ns, RangeBody body, void* context) {
  if (n <= 0) return;
  Work work;
  work.body = body;
  work.context = context;
  work.n = n;
  work.block = std::max<int64_t>(1, int64_t(kBlockNs / std::max(item_ns, 1e-3)));
  threads = int(std::min<int64_t>(threads_used(threads), n));
  const bool alone = threads == 1 || inside || double(n) * item_ns < kSerialBelowNs;
  Pool* const shared = alone ? nullptr : &pool();
  std::unique_lock<std::mutex> held;
  if (shared) held = std::unique_lock<std::mutex>(shared->caller(), std::try_to_lock);
  if (held) {
    const int64_t blocks = int64_t(threads) * kBlocksEach;
    work.block = std::min(work.block, (n + blocks - 1) / blocks);
    shared->run(work, threads);
  } else {  // a second caller at the same time does its own work: never two teams on the same cores
    work.share(true);
  }
  work.finish();
}

}  // namespace quatrefoil
