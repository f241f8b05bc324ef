// A process that forks while another thread holds a lock leaves the child with a lock that nobody opens.
#pragma once
#include <mutex>

namespace quatrefoil {

// Every fork from now on waits for this mutex and holds it; the child first calls `in_child`, if given. For mutexes of static life that are
// never held together.
void hold_across_forks(std::mutex&, void (*in_child)() = nullptr);

}  // namespace quatrefoil
