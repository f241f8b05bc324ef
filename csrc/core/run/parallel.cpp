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
#include <utility>
#include <vector>

#include "core/run/fork.hpp"

namespace quatrefoil {

bool (*interrupt_poll)() = nullptr;

namespace {

constexpr double kSerialBelowNs = 50e3;  // a fork/join takes ~5 us
constexpr double kBlockNs = 5e6;         // longest block
constexpr int64_t kBlocksEach = 4;       // blocks per thread if all threads are equally fast
constexpr auto kPollEvery = std::chrono::milliseconds(20);
constexpr int kSpins = 4000;  // ~10 us of spinning before the caller parks

std::atomic<int> configured_threads{1};

struct Work;
struct ThreadState {
  const Work* work = nullptr;  // the innermost work that it takes part in
  bool inside = false;         // whether it works in a team
  bool helper = false;         // helpers handle no signals
  double since = 0;            // ns of work since the last check
  std::chrono::steady_clock::time_point polled;
};
thread_local ThreadState thread_state;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

// The floating-point mode of a thread.
using Mode = std::uint64_t;
#if defined(__SSE2__)
constexpr Mode kFlushing = 0x8040;  // flush to zero, denormals are zero
Mode mode() { return _mm_getcsr(); }
void set_mode(Mode mode) { _mm_setcsr(unsigned(mode)); }
#elif defined(__aarch64__)
constexpr Mode kFlushing = Mode(1) << 24;
Mode mode() {
  Mode mode;
  __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
  return mode;
}
void set_mode(Mode mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode)); }
#else
constexpr Mode kFlushing = 0;
Mode mode() { return 0; }
void set_mode(Mode) {}
#endif
class InMode {
 public:
  explicit InMode(Mode now) : before_(mode()) { set_mode(now); }
  ~InMode() { set_mode(before_); }
  InMode(const InMode&) = delete;
  InMode& operator=(const InMode&) = delete;

 private:
  const Mode before_;
};

// A range that several threads share: each takes the next block when it has finished one, so a thread that starts late, because its core is
// busy, delays no other thread.
struct Work {
  RangeBody body = nullptr;
  void* context = nullptr;
  int64_t n = 0, block = 1;
  double item_ns = 0;
  const Work* const outer = thread_state.work;
  const Mode plain = mode();  // the caller's mode
  std::atomic<int64_t> next{0};
  std::atomic<bool> stop{false}, interrupted{false};
  std::mutex failing;
  std::exception_ptr error;
  int64_t failed = 0;  // the first block that failed, with `error`; all blocks before it are finished

  // Subnormal numbers (below 1.2e-38 in float32, 2.2e-308 in float64) are treated as 0 in every body and on every thread, so results do
  // not depend on the thread. An Intel processor takes about 150 cycles for each, and decaying sequences contain thousands of them.
  void run_blocks() {
    const Work* const before = std::exchange(thread_state.work, this);
    while (!stop.load(std::memory_order_relaxed)) {
      const int64_t i = next.fetch_add(block, std::memory_order_relaxed);
      if (i >= n) break;
      attempt(i, [&] {
        const InMode flushing(mode() | kFlushing);
        const int64_t end = std::min(i + block, n);
        body(context, i, end);
        check_interrupt(double(end - i) * item_ns);
      });
    }
    thread_state.work = before;
  }
  // Calls f; an error in f becomes the error of the work.
  template <class F>
  void attempt(int64_t at, F&& f) {
    try {
      f();
    } catch (const Interrupted&) {
      interrupted = true;
      fail(-1);  // takes precedence: the Python error is set
    } catch (...) {
      fail(at);
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

// Throws Interrupted if this thread's work must stop. Signal handlers may use floating point, so they run in the caller's own mode.
void throw_if_interrupted() {
  const Work* outermost = thread_state.work;
  for (const Work* w = thread_state.work; w; outermost = w, w = w->outer)
    if (w->interrupted.load(std::memory_order_relaxed)) throw Interrupted();
  if (thread_state.helper || !interrupt_poll) return;
  const auto now = std::chrono::steady_clock::now();
  if (now - thread_state.polled < kPollEvery) return;
  thread_state.polled = now;
  const InMode plain(outermost ? outermost->plain : mode());
  if (interrupt_poll()) throw Interrupted();
}

class Pool {
 public:
  void run(Work& work, int threads) {
    threads = 1 + grow(threads - 1);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      work_ = &work;
      threads_ = threads;
      ++generation_;
    }
    for (int t = 0; t < threads - 1; ++t) helpers_[std::size_t(t)]->wake.notify_one();  // waking all of them would take 45 us
    thread_state.inside = true;
    work.run_blocks();
    thread_state.inside = false;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      work_ = nullptr;  // no more helpers can join
    }
    for (int k = 0; k < kSpins && active_.load(std::memory_order_acquire); ++k) relax();
    std::unique_lock<std::mutex> lock(mutex_);
    while (!done_.wait_for(lock, kPollEvery, [&] { return active_.load() == 0; })) {
      lock.unlock();
      if (!work.interrupted) work.attempt(-1, throw_if_interrupted);
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

  // Starts helpers until there are `count`; returns how many are available.
  int grow(int count) {
    helpers_.reserve(std::size_t(count));
    while (int(helpers_.size()) < count) {
      auto helper = std::make_unique<Helper>();
      const int t = int(helpers_.size()) + 1;
      try {
        helper->thread = std::thread([this, t, &wake = helper->wake, seen = generation_]() mutable { serve(t, wake, seen); });
      } catch (const std::exception&) {  // no memory for the stack, or too many threads
        break;
      }
      helpers_.push_back(std::move(helper));
    }
    return std::min(count, int(helpers_.size()));
  }
  void serve(int t, std::condition_variable& wake, std::uint64_t seen) {
    thread_state.inside = thread_state.helper = true;
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      wake.wait(lock, [&] { return stop_ || generation_ != seen; });
      if (stop_) return;
      seen = generation_;
      Work* const work = work_;
      if (!work || t >= threads_) continue;
      ++active_;
      lock.unlock();
      work->run_blocks();
      lock.lock();
      if (--active_ == 0) done_.notify_one();
    }
  }

  std::mutex caller_, mutex_;
  std::condition_variable done_;
  std::vector<std::unique_ptr<Helper>> helpers_;
  std::atomic<int> active_{0};  // working helpers
  std::uint64_t generation_ = 0;
  Work* work_ = nullptr;  // the work that helpers may join
  int threads_ = 0;
  bool stop_ = false;
};

std::mutex pool_mutex;
std::unique_ptr<Pool>& pool_slot() {
  static auto* pool = new std::unique_ptr<Pool>;  // outlives every static destructor
  return *pool;
}
// A forked child has no helper threads: it leaks the parent's pool, whose locks may be held, and starts its own when needed.
[[maybe_unused]] const bool registered =
    (hold_across_forks(pool_mutex, [] { (void)pool_slot().release(), thread_state = ThreadState(); }), true);

Pool& pool() {
  std::lock_guard<std::mutex> lock(pool_mutex);
  if (!pool_slot()) pool_slot() = std::make_unique<Pool>();
  return *pool_slot();
}

}  // namespace

void check_interrupt(double ns) {
  constexpr double kCheckNs = 1e5;  // estimates may be off by a factor of ten
  if ((thread_state.since += ns) < kCheckNs) return;
  thread_state.since = 0;
  throw_if_interrupted();
}

int default_threads() { return configured_threads; }
void set_default_threads(int n) { configured_threads = n; }
int threads_used(int requested) { return requested > 0 ? requested : default_threads(); }

void run_ranges(int64_t n, int threads, double item_ns, RangeBody body, void* context) {
  if (n <= 0) return;
  Work work;
  work.body = body, work.context = context;
  work.n = n, work.item_ns = item_ns;
  work.block = std::max<int64_t>(1, int64_t(kBlockNs / std::max(item_ns, 1e-3)));
  threads = int(std::min<int64_t>(threads_used(threads), n));
  const bool alone = threads == 1 || thread_state.inside || double(n) * item_ns < kSerialBelowNs;
  Pool* const shared = alone ? nullptr : &pool();
  std::unique_lock<std::mutex> lock;
  if (shared) lock = std::unique_lock<std::mutex>(shared->caller(), std::try_to_lock);
  if (lock) {
    const int64_t blocks = int64_t(threads) * kBlocksEach;
    work.block = std::min(work.block, (n + blocks - 1) / blocks);
    shared->run(work, threads);
  } else {  // a second concurrent caller works alone, so that two teams never share the cores
    work.run_blocks();
  }
  work.finish();
}

}  // namespace quatrefoil
