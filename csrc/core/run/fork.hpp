// Makes fork() wait for mutexes: a child that is forked while another thread holds one would have a mutex that nobody unlocks.
#pragma once
#include <mutex>

namespace quatrefoil {

// Every fork from now on waits for this mutex and holds it; the child first calls `in_child`, if given. For mutexes of static life that are
// never held together.
void hold_across_forks(std::mutex&, void (*in_child)() = nullptr);

}  // namespace quatrefoil
