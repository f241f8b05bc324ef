// Walks over points and instances, and their reduction. Compiled once per instruction set.
#include "core/lanes/lanes.hpp"
#include "core/run/parallel.hpp"
#include "wos/walk/args.hpp"
#include "wos/walk/formula.hpp"
#include "wos/walk/walker.hpp"

namespace quatrefoil::wos::walk {
inline namespace QF_ISA {

constexpr double kStepNs = 25;                           // one step of one walk
constexpr double kUsualSteps = 12;                       // a walk, at epsilon 1e-3
constexpr int64_t kLeastTask = 1024, kMostTask = 16384;  // walks: long against the ~40 steps in which the last lanes run alone

// Walks [first, last) of one instance in teams: reads a cell and a list a step, all in the L2 cache; writes 12 bytes a walk.
template <class T>
void run_team(const Walk<T>& p, int64_t instance, int64_t first, int64_t last) {
  using V = Lanes<T>;
  const auto run = [&](const auto& domain) {
    using Domain = typename std::remove_const<typename std::remove_reference<decltype(domain)>::type>::type;
    Team<V, Domain>(p, domain, instance).run(first, last);
  };
  if (p.grids)
    run(polygon::Polygon<V>(p.grids[instance]));
  else if (p.dimension == 2)
    run(polygon::UnitBall<V, 2>());
  else
    run(polygon::UnitBall<V, 3>());
}

// The cut into tasks does not show in the result: a walk depends on its own counter only.
template <class T>
void walk(const Walk<T>& p) {
  const int64_t total = p.N * p.walks;
  if (p.B * total == 0) return;
  const int64_t threads = threads_used(p.threads);
  const bool calls = p.dirichlet.kind == data::Kind::callback || p.source.kind == data::Kind::callback;
  const int64_t least = calls ? kMostTask : kLeastTask;  // so that a user's function gets thousands of points a call
  const int64_t size = max(least, min(kMostTask, p.B * total / (8 * threads)));
  const int64_t tasks = (total + size - 1) / size;
  parallel_for(p.B * tasks, p.threads, double(min(size, total)) * kUsualSteps * kStepNs, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first = item % tasks * size;
      run_team(p, item / tasks, first, min(first + size, total));
    }
  });
}

// The mean and M2 of 2^j values by pairwise merges (8).
void pairwise(const double* values, int64_t n, double& mean, double& m2) {
  double means[64], m2s[64];
  int depth = 0;
  for (int64_t i = 0; i < n; ++i) {
    means[depth] = values[i];
    m2s[depth] = 0;
    ++depth;
    int64_t size = 1;
    for (int64_t done = i + 1; done % 2 == 0; done /= 2, size *= 2) {
      --depth;
      merge_equal(double(size), means[depth - 1], m2s[depth - 1], means[depth], m2s[depth]);
    }
  }
  mean = means[0];
  m2 = m2s[0];
}

// README (7): the range as aligned powers of two. Reads every value once.
void reduce(const Reduce& p) {
  parallel_for(p.rows, p.threads, double(p.walks) * 3, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      double *mean = p.mean + row * p.nodes, *m2 = p.m2 + row * p.nodes;
      if (!p.live[row]) {
        for (int64_t k = 0; k < p.nodes; ++k) mean[k] = m2[k] = __builtin_nan("");
        continue;
      }
      int64_t at = p.first_walk;
      for (int64_t k = 0; k < p.nodes; ++k) {
        int64_t size = 1;
        while (at % (2 * size) == 0 && at + 2 * size <= p.first_walk + p.walks) size *= 2;
        pairwise(p.values + row * p.walks + (at - p.first_walk), size, mean[k], m2[k]);
        at += size;
      }
      for (int64_t w = 0; w < p.walks; ++w) {
        const uint32_t mark = p.steps[row * p.walks + w];
        p.total_steps[row] += mark & (kEscaped - 1);
        p.truncated[row] += (mark & kCutOff) != 0;
        p.escaped[row] += (mark & kEscaped) != 0;
      }
    }
  });
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
constexpr Kernels<T> kKernels = {walk<T>};

extern const Table kernels;
const Table kernels = {{kKernels<float>, kKernels<double>}, reduce, random_words};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
