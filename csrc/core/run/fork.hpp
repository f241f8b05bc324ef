// Makes fork() wait for mutexes: if another thread held one during the fork, the child would inherit it locked forever.
#pragma once
#include <mutex>

namespace quatrefoil {

// Every later fork locks this mutex; the child calls `in_child`, if given, before it unlocks. Only for mutexes with static lifetime that
// are never held together.
void hold_across_forks(std::mutex&, void (*in_child)() = nullptr);

}  // namespace quatrefoil
