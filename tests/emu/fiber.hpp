// A stack for each CUDA thread, with annotations that make ThreadSanitizer treat the threads and barriers of a block as real ones. It then
// finds races in any order of execution.
#pragma once
#include <setjmp.h>
#include <ucontext.h>

#include <memory>

#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
extern "C" {
void AnnotateIgnoreReadsBegin(const char*, int);
void AnnotateIgnoreReadsEnd(const char*, int);
void AnnotateIgnoreWritesBegin(const char*, int);
void AnnotateIgnoreWritesEnd(const char*, int);
}
#endif

namespace quatrefoil::emulator {

#if defined(__SANITIZE_THREAD__)
constexpr bool kFreshStacks = true;  // for each block, so that no two blocks share memory
struct Quiet {                       // hides reads and writes of the emulator itself
  Quiet() { AnnotateIgnoreReadsBegin("", 0), AnnotateIgnoreWritesBegin("", 0); }
  ~Quiet() { AnnotateIgnoreWritesEnd("", 0), AnnotateIgnoreReadsEnd("", 0); }
};
inline void arrive(void* at) { __tsan_release(at); }
inline void depart(void* at) { __tsan_acquire(at); }
inline void* new_thread() { return __tsan_create_fiber(0); }
inline void* this_thread() { return __tsan_get_current_fiber(); }
inline void end_thread(void* thread) { __tsan_destroy_fiber(thread); }
inline void switch_thread(void* thread) { __tsan_switch_to_fiber(thread, 1); }  // 1: the switch implies no order
#else
constexpr bool kFreshStacks = false;
struct Quiet {
  Quiet() {}
};
inline void arrive(void*) {}
inline void depart(void*) {}
inline void* new_thread() { return nullptr; }
inline void* this_thread() { return nullptr; }
inline void end_thread(void*) {}
inline void switch_thread(void*) {}
#endif

class Fiber {
 public:
  void start(void (*entry)(), ucontext_t* then) {
    if (!stack_ || kFreshStacks) stack_.reset(new char[kStack]);
    getcontext(&context_);
    context_.uc_stack.ss_sp = stack_.get(), context_.uc_stack.ss_size = kStack, context_.uc_link = then;
    makecontext(&context_, entry, 0);
    thread_ = new_thread(), has_begun_ = false;
  }
  void end() { end_thread(thread_); }
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)  // sanitizers understand context switches, but not jumps between stacks
  void resume(ucontext_t* from) {
    switch_thread(thread_);
    swapcontext(from, &context_);
  }
  void leave(ucontext_t* to, void* thread) {
    switch_thread(thread);
    swapcontext(&context_, to);
  }
#else  // a jump needs no system calls, but a context switch needs two
  void resume(ucontext_t*) {
    if (_setjmp(back_)) return;
    if (has_begun_) _longjmp(jump_, 1);
    has_begun_ = true;
    setcontext(&context_);
  }
  void leave(ucontext_t*, void*) {
    if (!_setjmp(jump_)) _longjmp(back_, 1);
  }
#endif

 private:
  static constexpr std::size_t kStack = 128 << 10;  // bytes: a kernel that needs more would spill on a GPU
  std::unique_ptr<char[]> stack_;
  ucontext_t context_;
  jmp_buf jump_, back_;
  bool has_begun_ = false;
  void* thread_ = nullptr;
};

}  // namespace quatrefoil::emulator
