// Runs walks and reduces their values, in rounds that fit into memory. The division into rounds does not change the result.
#pragma once
#include "core/run/parallel.hpp"
#include "wos/walk/reduce.hpp"
#include "wos/walk/values.hpp"
#include "wos/walk/wide.hpp"

namespace quatrefoil::wos::walk {
inline namespace QF_ISA {

constexpr int64_t kRound = 1 << 20;                   // values in memory at a time: 12 MB at most
constexpr int64_t kMinTask = 1024, kMaxTask = 16384;  // walks, so many that the last ~40 steps, with few busy lanes, cost little

// The slots of instances [instance, instance_end), which all finish before they are reduced.
struct Round {
  int64_t instance, instance_end;
  Slots slots;
  int64_t total() const { return slots.points * slots.walks; }
};

// Calls run(at, first, last) for slots [first, last) of instance r.instance + at until all slots of the round are covered. `calls`: a
// user's function is evaluated, so tasks have thousands of points.
template <class F>
void in_tasks(const Round& r, int threads, bool calls, double walk_ns, F&& run) {
  const int64_t total = r.total(), B = r.instance_end - r.instance, min_size = calls ? kMaxTask : kMinTask;
  const int64_t size = max(min_size, min(kMaxTask, B * total / (8 * threads_used(threads))));
  const int64_t tasks = (total + size - 1) / size;
  parallel_for(B * tasks, threads, double(min(size, total)) * walk_ns, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first = item % tasks * size;
      run(item / tasks, first, min(first + size, total));
    }
  });
}

// Runs every walk of a round. Writes one mark per slot, and one value per channel, slot and right-hand side, instance by instance. A walk
// depends only on its own counter. A team reads a cell and a list per step, all in the L2 cache, and writes 12 bytes per walk.
template <class T>
void walk_round(const Walk<T>& p, const Round& r, double* values, uint32_t* marks) {
  const int64_t total = r.total();
  const bool calls = p.dirichlet.kind == data::Kind::function || p.source.kind == data::Kind::function;
  in_tasks(r, p.threads, calls, kUsualSteps * kStepNs, [&](int64_t at, int64_t first, int64_t last) {
    double* const own = values + at * total * p.channels() * p.nrhs;
    if (p.dimension > 3)
      wide_values(p, r.instance + at, r.slots, first, last, own, total, marks + at * total);
    else
      run_team<Values>(p, r.instance + at, r.slots, first, last, p, r.instance + at, own, total, marks + at * total);
  });
}

// (5) Reduces one channel of one point of a round, with one right-hand side per lane of V. Their results are `between` elements apart.
template <class V, class T>
void reduce(const Walk<T>& p, int64_t walks, const double* values, int64_t between, double* mean, double* m2) {
  Nodes<V> nodes(p.first_walk, p.walks, p.group(), mean, m2, p.channels(), between);
  nodes.add(values, walks, p.nrhs);
}

// Reduces the points of a round. `nodes` (channels, nrhs) continue a point whose walks span several rounds. Reads every value once. Handles
// a few points at a time, one right-hand side at a time, because their results are far apart in memory.
template <class T>
void reduce_round(const Walk<T>& p, const Round& r, const double* values, const uint32_t* marks, Nodes<double>* nodes) {
  using V = Lanes<double, kVectorBytes / 8>;
  constexpr int64_t W = kWidth<V>, kPoints = 8;
  const int64_t walks = r.slots.walks, points = r.slots.points, nrhs = p.nrhs, channels = p.channels(), width = p.nodes() * channels;
  const int64_t tiles = (points + kPoints - 1) / kPoints, between = p.N * width;
  const double ns = double(kPoints * walks * nrhs * channels) * 3;
  parallel_for((r.instance_end - r.instance) * tiles, p.threads, ns, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t at = i / tiles, instance = r.instance + at, first = i % tiles * kPoints, last = min(first + kPoints, points);
      const auto is_absent = [&](int64_t point) {
        const T x = p.start[(instance * p.N + r.slots.first_point + point) * p.dimension];
        return !(x == x);
      };
      const auto row = [&](int64_t point, int64_t side) { return (instance * nrhs + side) * p.N + r.slots.first_point + point; };
      if (i + 1 < end && nrhs > 1)
        for (int64_t c = 0; c < channels; ++c)
          fetch(values + (((at * channels + c) * points + last) * walks) * nrhs, min(kPoints, points - last) * walks * nrhs);
      int64_t of_points[kPoints][3] = {};
      for (int64_t point = first; point < last; ++point)
        for (int64_t w = 0; !is_absent(point) && w < walks; ++w)
          add_mark(marks[(at * points + point) * walks + w], of_points[point - first]);
      for (int64_t side = 0; side < nrhs; ++side)
        for (int64_t point = first; point < last; ++point)
          for (int j = 0; j < 3; ++j) {
            int64_t& count = p.counts[3 * row(point, side) + j];
            count = (nodes ? count : 0) + of_points[point - first][j];
          }
      for (int64_t side = 0; side < nrhs;) {
        const bool together = !nodes && side + W <= nrhs;
        for (int64_t point = first; point < last; ++point) {
          double *const mean = p.mean + row(point, side) * width, *const m2 = p.m2 + row(point, side) * width;
          if (is_absent(point)) {
            for (int64_t l = 0; l < (together ? W : 1); ++l)
              for (int64_t k = 0; k < width; ++k) mean[l * between + k] = m2[l * between + k] = __builtin_nan("");
            continue;
          }
          for (int64_t c = 0; c < channels; ++c) {
            const double* const own = values + (((at * channels + c) * points + point) * walks) * nrhs + side;
            if (nodes)
              nodes[c * nrhs + side].add(own, walks, nrhs);
            else if (together)
              reduce<V>(p, walks, own, between, mean + c, m2 + c);
            else
              reduce<double>(p, walks, own, between, mean + c, m2 + c);
          }
        }
        side += together ? W : 1;
      }
    }
  });
}

// Splits instances, then points, then walks into rounds. walks(round, values, marks) runs one round.
template <class T, class F>
void in_rounds(const Walk<T>& p, F&& walks) {
  if (p.sides() * p.N == 0) return;
  const int64_t numbers = p.channels() * p.nrhs;      // values per walk
  int64_t max_walks = kRound / (p.gradient ? 4 : 1);  // walks per round, a whole number of pairs
  while (max_walks * numbers > kRound && max_walks > 2) max_walks /= 2;
  const int64_t count = p.nodes(), total = min(max_walks, p.B * p.N * min(max_walks, p.walks));
  Scratch<double> values(total * numbers);
  Scratch<uint32_t> marks(total);
  const auto run = [&](const Round& r, Nodes<double>* nodes) {
    walks(r, static_cast<double*>(values), static_cast<uint32_t*>(marks));
    reduce_round(p, r, values, marks, nodes);
  };
  const int64_t instances = p.N * min(max_walks, p.walks) <= max_walks ? max_walks / (p.N * min(max_walks, p.walks)) : 0;
  if (p.walks <= max_walks && instances >= 1) {
    for (int64_t b = 0; b < p.B; b += instances) run({b, min(p.B, b + instances), {0, p.N, p.first_walk, p.walks}}, nullptr);
    return;
  }
  for (int64_t b = 0; b < p.B; ++b) {
    const int64_t points = max<int64_t>(1, max_walks / p.walks);
    for (int64_t n = 0; n < p.N; n += points) {
      if (p.walks <= max_walks) {
        run({b, b + 1, {n, min(points, p.N - n), p.first_walk, p.walks}}, nullptr);
        continue;
      }
      Scratch<Nodes<double>> nodes(numbers);
      for (int64_t side = 0; side < p.nrhs; ++side) {
        const int64_t row = (b * p.nrhs + side) * p.N + n;
        for (int j = 0; j < 3; ++j) p.counts[3 * row + j] = 0;
        for (int64_t c = 0; c < p.channels(); ++c) {
          const int64_t at = row * count * p.channels() + c;
          nodes[c * p.nrhs + side] = Nodes<double>(p.first_walk, p.walks, p.group(), p.mean + at, p.m2 + at, p.channels(), 0);
        }
      }
      for (int64_t w = 0; w < p.walks; w += max_walks) run({b, b + 1, {n, 1, p.first_walk + w, min(max_walks, p.walks - w)}}, nodes);
    }
  }
}

template <class T>
void walk(const Walk<T>& p) {
  in_rounds(p, [&](const Round& r, double* values, uint32_t* marks) { walk_round(p, r, values, marks); });
}

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
