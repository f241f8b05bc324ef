// Tables that are computed once per process and never freed: roots of FFTs, at most a few times the size of the longest transform; and
// cosine matrices and chirps, one table per length.
#pragma once
#include "core/lanes/hd.hpp"

namespace quatrefoil {

struct TableKey {
  int kind;   // one number per kind of table
  int lanes;  // the layout depends on the vector width
  int itemsize;
  int64_t n;
};

// Returns the 64-byte aligned table of a key; `fill(data, key)` computes it at first request. If two threads fill it, one copy is kept.
const void* cached_table(const TableKey& key, std::size_t bytes, void (*fill)(void* data, const TableKey& key));

}  // namespace quatrefoil
