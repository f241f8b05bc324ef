// Walks over points and instances, and their reduction: rounds of what is in memory together. None of the cuts shows in the result.
#pragma once
#include "core/run/parallel.hpp"
#include "wos/walk/reduce.hpp"
#include "wos/walk/values.hpp"
#include "wos/walk/wide.hpp"

namespace quatrefoil::wos::walk {
inline namespace QF_ISA {

constexpr int64_t kRound = 1 << 20;                      // numbers of walks that are in memory together: 12 MB at most
constexpr int64_t kLeastTask = 1024, kMostTask = 16384;  // walks: long against the ~40 steps in which the last lanes run alone

// Instances [instance, instance_end), and of each the slots: what is walked before it is reduced.
struct Round {
  int64_t instance, instance_end;
  Slots slots;
  int64_t total() const { return slots.points * slots.walks; }
};

inline void add_marks(uint32_t mark, int64_t* counts) {
  counts[0] += mark & (kEscaped - 1);
  counts[1] += (mark & kCutOff) != 0;
  counts[2] += (mark & kEscaped) != 0;
}

// run(at, first, last) for the slots [first, last) of instance r.instance + at, until all of a round are run. calls: a user's function is
// asked, which gets thousands of points a call.
template <class F>
void in_tasks(const Round& r, int threads, bool calls, double walk_ns, F&& run) {
  const int64_t total = r.total(), B = r.instance_end - r.instance, least = calls ? kMostTask : kLeastTask;
  const int64_t size = max(least, min(kMostTask, B * total / (8 * threads_used(threads))));
  const int64_t tasks = (total + size - 1) / size;
  parallel_for(B * tasks, threads, double(min(size, total)) * walk_ns, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first = item % tasks * size;
      run(item / tasks, first, min(first + size, total));
    }
  });
}

// Every walk of a round; marks have a number a slot, values one for each channel, instance after instance. A walk depends on its own
// counter only. A team reads a cell and a list a step, all in the L2 cache, and writes 12 bytes a walk.
template <class T>
void walk_round(const Walk<T>& p, const Round& r, double* values, uint32_t* marks) {
  const int64_t total = r.total();
  const bool calls = p.dirichlet.kind == data::Kind::function || p.source.kind == data::Kind::function;
  in_tasks(r, p.threads, calls, kUsualSteps * kStepNs, [&](int64_t at, int64_t first, int64_t last) {
    double* const own = values + at * total * p.channels();
    if (p.dimension > 3)
      wide_values(p, r.instance + at, r.slots, first, last, own, total, marks + at * total);
    else
      run_team<Values>(p, r.instance + at, r.slots, first, last, p, r.instance + at, own, total, marks + at * total);
  });
}

// README (5): the points of a round; `nodes` of a point whose walks come in several rounds go on where they were. Reads every value once.
template <class T>
void reduce_round(const Walk<T>& p, const Round& r, const double* values, const uint32_t* marks, Nodes* nodes) {
  const int64_t count = p.nodes(), walks = r.slots.walks, points = r.slots.points, total = r.total();
  const int channels = p.channels();
  parallel_for((r.instance_end - r.instance) * points, p.threads, double(walks) * 3 * channels, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t at = i / points, point = i % points, row = (r.instance + at) * p.N + r.slots.first_point + point;
      double *mean = p.mean + row * count * channels, *m2 = p.m2 + row * count * channels;
      int64_t* const counts = p.counts + 3 * row;
      if (!nodes) counts[0] = counts[1] = counts[2] = 0;
      const T first = p.start[row * p.dimension];
      if (!(first == first)) {
        for (int64_t k = 0; k < count * channels; ++k) mean[k] = m2[k] = __builtin_nan("");
        continue;
      }
      for (int c = 0; c < channels; ++c) {
        const double* const own = values + (at * channels + c) * total + point * walks;
        if (nodes) {
          nodes[c].add(own, walks);
        } else {
          Nodes fresh(p.first_walk, p.walks, p.group(), mean + c, m2 + c, channels);
          fresh.add(own, walks);
        }
      }
      for (int64_t w = 0; w < walks; ++w) add_marks(marks[i * walks + w], counts);
    }
  });
}

// Rounds over instances, points and at last walks. walks(round, values, marks) runs those of one.
template <class T, class F>
void in_rounds(const Walk<T>& p, F&& walks) {
  if (p.B * p.N == 0) return;
  const int channels = p.channels();
  int64_t most = kRound / (p.gradient ? 4 : 1);  // walks of a round, a whole number of pairs
  while (most * channels > kRound) most /= 2;
  const int64_t count = p.nodes(), total = min(most, p.B * p.N * min(most, p.walks));
  Scratch<double> values(total * channels);
  Scratch<uint32_t> marks(total);
  const auto run = [&](const Round& r, Nodes* nodes) {
    walks(r, static_cast<double*>(values), static_cast<uint32_t*>(marks));
    reduce_round(p, r, values, marks, nodes);
  };
  const int64_t instances = p.N * min(most, p.walks) <= most ? most / (p.N * min(most, p.walks)) : 0;
  if (p.walks <= most && instances >= 1) {
    for (int64_t b = 0; b < p.B; b += instances) run({b, min(p.B, b + instances), {0, p.N, p.first_walk, p.walks}}, nullptr);
    return;
  }
  for (int64_t b = 0; b < p.B; ++b) {
    const int64_t points = max<int64_t>(1, most / p.walks);
    for (int64_t n = 0; n < p.N; n += points) {
      if (p.walks <= most) {
        run({b, b + 1, {n, min(points, p.N - n), p.first_walk, p.walks}}, nullptr);
        continue;
      }
      const int64_t row = b * p.N + n;
      for (int j = 0; j < 3; ++j) p.counts[3 * row + j] = 0;
      Scratch<Nodes> nodes(channels);
      for (int c = 0; c < channels; ++c) {
        const int64_t at = row * count * channels + c;
        nodes[c] = Nodes(p.first_walk, p.walks, p.group(), p.mean + at, p.m2 + at, channels);
      }
      for (int64_t w = 0; w < p.walks; w += most) run({b, b + 1, {n, 1, p.first_walk + w, min(most, p.walks - w)}}, nodes);
    }
  }
}

template <class T>
void walk(const Walk<T>& p) {
  in_rounds(p, [&](const Round& r, double* values, uint32_t* marks) { walk_round(p, r, values, marks); });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
