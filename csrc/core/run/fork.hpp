// Makes fork() wait for mutexes: a child forked while another thread holds one would inherit it locked forever.
#pragma once
#include <mutex>

namespace quatrefoil {

// From now on every fork locks this mutex; the child first calls `in_child`, if given. For mutexes with static lifetime that are never held
// together.
void hold_across_forks(std::mutex&, void (*in_child)() = nullptr);

}  // namespace quatrefoil
