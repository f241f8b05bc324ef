// Tables that are computed at first use, one per length: roots of FFTs, cosine matrices and chirps. Unused ones are freed, least recently
// used first, while all of them take more than kMaxTableBytes, but never the last kMinTables.
#pragma once
#include "core/lanes/hd.hpp"

namespace quatrefoil {

constexpr std::size_t kMaxTableBytes = 128u << 20;  // all matrices for up to 500 points in double precision
constexpr std::size_t kMinTables = 8;               // long chirps along three axes need six, of any size

struct TableKey {
  int kind;   // one number per kind of table
  int lanes;  // the layout depends on the vector width
  int itemsize;
  int64_t n;
};

struct CacheEntry;

// Finds the 64-byte aligned table of a key; `fill(data, key)` computes it at first request. If two threads fill it, one copy is kept. It is
// not freed before `release_table`.
CacheEntry* hold_table(const TableKey& key, std::size_t bytes, void (*fill)(void* data, const TableKey& key));
const void* data_of(const CacheEntry*) noexcept;
void release_table(CacheEntry*) noexcept;

inline namespace QF_ISA {

template <class T>
class CachedTable {
 public:
  CachedTable(const TableKey& key, int64_t numbers, void (*fill)(void* data, const TableKey& key))
      : entry_(hold_table(key, std::size_t(numbers) * sizeof(T), fill)), data_(static_cast<const T*>(data_of(entry_))) {}
  ~CachedTable() { release_table(entry_); }
  CachedTable(const CachedTable&) = delete;
  CachedTable& operator=(const CachedTable&) = delete;
  operator const T*() const { return data_; }

 private:
  CacheEntry* const entry_;
  const T* const data_;
};

}  // namespace QF_ISA
}  // namespace quatrefoil
