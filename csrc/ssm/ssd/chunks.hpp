// Divides the steps into chunks. No chunk crosses into another sequence, so nothing is masked and no NaN crosses.
#pragma once
#include "core/run/parallel.hpp"
#include "ssm/ssd/args.hpp"

namespace quatrefoil::ssm::ssd {
inline namespace QF_ISA {

struct Chunk {
  int64_t begin, steps;
  int64_t sequence;  // the sequence of cu_seqlens that ends with this chunk, or -1
  bool fresh;        // continues from no chunk: starts from 0, or at step 0 from the initial state
  bool followed;     // the next chunk of the item continues from the state after this one
};

// The chunks of every item; a single table if they are the same for all items.
template <class T>
class Chunks {
 public:
  explicit Chunks(const ChunkScan<T>& p)
      : p_(p), tables_(p.seq_idx ? p.items : min<int64_t>(p.items, 1)), first_(tables_ + 1), table_(count_all()) {
    for (int64_t item = 0; item < tables_; ++item) {
      Chunk* to = table_ + first_[item];
      cut(item, [&](const Chunk& chunk) { *to++ = chunk; });
    }
  }
  int64_t count(int64_t item) const { return first_[table(item) + 1] - first_[table(item)]; }
  const Chunk* begin(int64_t item) const { return table_ + first_[table(item)]; }
  const Chunk* end(int64_t item) const { return begin(item) + count(item); }

 private:
  int64_t table(int64_t item) const { return p_.seq_idx ? item : 0; }
  int64_t count_all() {
    first_[0] = 0;
    for (int64_t item = 0; item < tables_; ++item) {
      int64_t n = 0;
      cut(item, [&](const Chunk&) { ++n; });
      first_[item + 1] = first_[item] + n;
    }
    return first_[tables_];
  }

  // Calls f(chunk) in order. cu_seqlens ascends from 0 to the length.
  template <class F>
  void cut(int64_t item, F&& f) const {
    const int64_t* const index = p_.seq_idx ? p_.seq_idx + item * p_.length : nullptr;
    int64_t next = 0;  // the first entry of cu_seqlens after t
    const auto starts = [&](int64_t t) { return next <= p_.sequences && p_.cu_seqlens[next] == t; };
    const auto pass = [&](int64_t t) {
      while (next <= p_.sequences && p_.cu_seqlens[next] <= t) ++next;
    };
    InterruptCheck check;
    bool fresh = true;
    if (p_.cu_seqlens) pass(0);
    for (int64_t t = 0; t < p_.length;) {
      Chunk chunk{t, 0, -1, fresh, false};
      const int64_t last = min(p_.length, t + p_.steps);
      bool ends = false;
      do {
        ++t;
        ends = (index && t < p_.length && index[t] != index[t - 1]) || (p_.cu_seqlens && starts(t));
      } while (t < last && !ends);
      check(double(t - chunk.begin));
      if (p_.cu_seqlens && starts(t) && next > 0) chunk.sequence = next - 1;
      if (p_.cu_seqlens) pass(t);
      chunk.steps = t - chunk.begin, chunk.followed = !ends && t < p_.length;
      fresh = ends;
      f(chunk);
    }
  }

  const ChunkScan<T>& p_;
  int64_t tables_;
  Scratch<int64_t> first_;
  Scratch<Chunk> table_;
};

}  // namespace QF_ISA
}  // namespace quatrefoil::ssm::ssd
