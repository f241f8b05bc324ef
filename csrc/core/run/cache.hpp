// Tables that are made once and kept for the life of the process (twiddle factors: at most a few times the longest transform).
#pragma once
#include "core/lanes/hd.hpp"

namespace quatrefoil {

struct TableKey {
  int kind;   // what the table holds, one number per kind
  int lanes;  // the layout depends on the vector width
  int itemsize;
  int64_t n;
};

// The table of that key, of so many bytes, as `fill(data, key)` writes it; of two threads that do so at once one is kept. 64-byte aligned.
const void* cached_table(const TableKey& key, std::size_t bytes, void (*fill)(void* data, const TableKey& key));

}  // namespace quatrefoil
