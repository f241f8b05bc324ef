// Walks over points and instances, their reduction, and where they start. Compiled once per instruction set.
#include "core/run/parallel.hpp"
#include "wos/mesh/locate.hpp"
#include "wos/polygon/locate.hpp"
#include "wos/walk/adjoint.hpp"
#include "wos/walk/args.hpp"
#include "wos/walk/formula.hpp"
#include "wos/walk/reduce.hpp"
#include "wos/walk/values.hpp"
#include "wos/walk/walker.hpp"

namespace quatrefoil::wos::walk {
inline namespace QF_ISA {

using polygon::keep_in_polygon;

constexpr int64_t kRound = 1 << 20;                      // walks whose values are in memory together: 12 MB
constexpr int64_t kLeastTask = 1024, kMostTask = 16384;  // walks: long against the ~40 steps in which the last lanes run alone

// Instances [instance, instance_end), and of each the slots: what is walked before it is reduced.
struct Round {
  int64_t instance, instance_end;
  Slots slots;
  int64_t total() const { return slots.points * slots.walks; }
};

// Every walk of a round; values and marks have a number a slot, instance after instance. The cut into tasks does not show in the result: a
// walk depends on its own counter only. A team reads a cell and a list a step, all in the L2 cache, and writes 12 bytes a walk.
template <class T>
void walk_round(const Walk<T>& p, const Round& r, double* values, uint32_t* marks) {
  const int64_t total = r.total(), B = r.instance_end - r.instance;
  const bool calls = p.dirichlet.kind == data::Kind::function || p.source.kind == data::Kind::function;
  const int64_t least = calls ? kMostTask : kLeastTask;  // so that a user's function gets thousands of points a call
  const int64_t size = max(least, min(kMostTask, B * total / (8 * threads_used(p.threads))));
  const int64_t tasks = (total + size - 1) / size;
  parallel_for(B * tasks, p.threads, double(min(size, total)) * kUsualSteps * kStepNs, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t at = item / tasks, first = item % tasks * size, instance = r.instance + at;
      run_team<Values>(p, instance, r.slots, first, min(first + size, total), p, instance, values + at * total, marks + at * total);
    }
  });
}

// README (5): the points of a round; `nodes` of a point whose walks come in several rounds goes on where it was. Reads every value once.
template <class T>
void reduce_round(const Walk<T>& p, const Round& r, const double* values, const uint32_t* marks, Nodes* nodes) {
  const int64_t count = p.nodes(), walks = r.slots.walks, points = r.slots.points;
  parallel_for((r.instance_end - r.instance) * points, p.threads, double(walks) * 3, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = (r.instance + i / points) * p.N + r.slots.first_point + i % points;
      double *mean = p.mean + row * count, *m2 = p.m2 + row * count;
      int64_t* const counts = p.counts + 3 * row;
      if (!nodes) counts[0] = counts[1] = counts[2] = 0;
      const T first = p.start[row * p.dimension];
      if (!(first == first)) {
        for (int64_t k = 0; k < count; ++k) mean[k] = m2[k] = __builtin_nan("");
        continue;
      }
      if (nodes) {
        nodes->add(values + i * walks, walks);
      } else {
        Nodes own(p.first_walk, p.walks, mean, m2);
        own.add(values + i * walks, walks);
      }
      for (int64_t w = 0; w < walks; ++w) {
        const uint32_t mark = marks[i * walks + w];
        counts[0] += mark & (kEscaped - 1);
        counts[1] += (mark & kCutOff) != 0;
        counts[2] += (mark & kEscaped) != 0;
      }
    }
  });
}

// Rounds over instances, points and at last walks; none shows in the result.
template <class T>
void walk(const Walk<T>& p) {
  if (p.B * p.N == 0) return;
  const int64_t count = p.nodes(), total = min(kRound, p.B * p.N * min(kRound, p.walks));
  Scratch<double> values(total);
  Scratch<uint32_t> marks(total);
  const auto run = [&](const Round& r, Nodes* nodes) {
    walk_round(p, r, values, marks);
    reduce_round(p, r, values, marks, nodes);
  };
  const int64_t instances = p.N * min(kRound, p.walks) <= kRound ? kRound / (p.N * min(kRound, p.walks)) : 0;
  if (p.walks <= kRound && instances >= 1) {
    for (int64_t b = 0; b < p.B; b += instances) run({b, min(p.B, b + instances), {0, p.N, p.first_walk, p.walks}}, nullptr);
    return;
  }
  for (int64_t b = 0; b < p.B; ++b) {
    const int64_t points = max<int64_t>(1, kRound / p.walks);
    for (int64_t n = 0; n < p.N; n += points) {
      if (p.walks <= kRound) {
        run({b, b + 1, {n, min(points, p.N - n), p.first_walk, p.walks}}, nullptr);
        continue;
      }
      const int64_t row = b * p.N + n;
      for (int j = 0; j < 3; ++j) p.counts[3 * row + j] = 0;
      Nodes nodes(p.first_walk, p.walks, p.mean + row * count, p.m2 + row * count);
      for (int64_t w = 0; w < p.walks; w += kRound) run({b, b + 1, {n, 1, p.first_walk + w, min(kRound, p.walks - w)}}, &nodes);
    }
  }
}

// A point of the unit ball, or within epsilon of it, which moves onto the sphere; false for others.
bool keep_in_ball(int dimension, double epsilon, double* x) {
  double r2 = 0;
  for (int j = 0; j < dimension; ++j) r2 += x[j] * x[j];
  const double r = square_root(r2);
  for (int j = 0; r > 1 && j < dimension; ++j) x[j] /= r;
  return r <= 1 + epsilon;
}

// Points in the frame of their boundary, in double precision until they are written: a sweep over the segments a point, a walk down the
// tree.
template <class T>
int64_t place(const Place<T>& p) {
  int64_t bad = -1;
  const int D = p.dimension;
  const double ns = p.segments ? double(p.segments[0].M) : p.mesh ? 500 : 10;
  parallel_for(p.B * p.N, p.threads, ns, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t instance = i / p.N;
      const double* const frame = p.frame + instance * (D + 2);
      const T* const from = p.points + (p.shared ? i % p.N : i) * D;
      double x[3];
      bool finite = true;
      for (int j = 0; j < D; ++j) {
        if (finite && !(from[j] - from[j] == T(0))) note_first(bad, (from - p.points) + j), finite = false;
        x[j] = (double(from[j]) - frame[j]) / frame[D];
      }
      const bool kept = finite && (p.segments ? keep_in_polygon(p.segments[instance], frame[D + 1], x)
                                   : p.mesh   ? mesh::keep_in_mesh(*p.mesh, p.closed, frame[D + 1], x)
                                              : keep_in_ball(D, frame[D + 1], x));
      for (int j = 0; j < D; ++j) p.start[i * D + j] = kept ? T(x[j]) : T(__builtin_nan(""));
    }
  });
  return bad;
}

// By lanes as far as they go, the rest one by one: both must agree with the published words.
void random_words(const uint32_t* counters, int64_t n, uint32_t key0, uint32_t key1, uint32_t* words) {
  using U = Lanes<uint32_t, kVectorBytes / 4>;
  constexpr int W = kWidth<U>;
  int64_t i = 0;
  for (; i + W <= n; i += W) {
    uint32_t lanes[4][W];
    for (int l = 0; l < W; ++l)
      for (int j = 0; j < 4; ++j) lanes[j][l] = counters[4 * (i + l) + j];
    U c[4] = {load<U>(lanes[0]), load<U>(lanes[1]), load<U>(lanes[2]), load<U>(lanes[3])};
    philox(c, key0, key1);
    for (int j = 0; j < 4; ++j) store(lanes[j], c[j]);
    for (int l = 0; l < W; ++l)
      for (int j = 0; j < 4; ++j) words[4 * (i + l) + j] = lanes[j][l];
  }
  for (; i < n; ++i) {
    uint32_t c[4];
    for (int j = 0; j < 4; ++j) c[j] = counters[4 * i + j];
    philox(c, key0, key1);
    for (int j = 0; j < 4; ++j) words[4 * i + j] = c[j];
  }
}

template <class T>
constexpr Kernels<T> kKernels = {walk<T>, walk_adjoint<T>, place<T>};

extern const Table kernels;
const Table kernels = {{kKernels<float>, kKernels<double>}, random_words};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
