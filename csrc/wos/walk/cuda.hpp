// One walk on a GPU, step by step: README (1) to (4), (9) to (15). After a walk has ended, its thread starts the next one.
#pragma once
#include "core/cuda/launch.hpp"
#include "wos/data/cuda.hpp"
#include "wos/mesh/cuda.hpp"
#include "wos/polygon/cuda.hpp"
#include "wos/solid/cuda.hpp"
#include "wos/walk/args.hpp"
#include "wos/walk/formula.hpp"

namespace quatrefoil::wos::walk {
inline namespace QF_ISA {

using polygon::Seen;

// The segments and triangles of a boundary in the kernels' layout, built once per call.
template <class T>
struct Records {
  const polygon::Record<T>* segments = nullptr;
  const T* triangles = nullptr;
  const T* boxes = nullptr;
};

// The range of segments of an instance's polygon.
struct Span {
  int64_t begin, end;
  __device__ Span(const BoundaryArrays& boundary, int64_t instance) {
    const int64_t at = boundary.polygons == 1 ? 0 : instance;
    begin = min(max(boundary.first[at], int64_t(0)), boundary.count);
    end = min(max(boundary.first[at + 1], begin), boundary.count);
  }
};

template <class T, int D>
__device__ __forceinline__ void set(solid::Ball<T, D>&, const Walk<T>&, const Records<T>&, int64_t) {}
template <class T, int D>
__device__ __forceinline__ void set(solid::Inside<T, D>& domain, const Walk<T>& p, const Records<T>&, int64_t) {
  domain = solid::Inside<T, D>(p.boundary.ends, p.boundary.width);
}
template <class T>
__device__ __forceinline__ void set(polygon::Polygon<T>& domain, const Walk<T>& p, const Records<T>& records, int64_t instance) {
  const Span span(p.boundary, instance);
  domain = polygon::Polygon<T>({records.segments}, records.boxes, p.boundary.count, span.begin, span.end);
}
template <class T>
__device__ __forceinline__ void set(mesh::Mesh<T>& domain, const Walk<T>& p, const Records<T>& records, int64_t) {
  domain = mesh::Mesh<T>({records.triangles, p.boundary.ends}, records.boxes, p.boundary.count, 0, p.boundary.count);
}
template <class T>
__device__ __forceinline__ void set(solid::Outside<T>& domain, const Walk<T>& p, const Records<T>& records, int64_t instance) {
  const bool is_mesh = p.boundary.ends && !p.boundary.solid;
  mesh::Mesh<T> mesh;
  if (is_mesh) set(mesh, p, records, 0);
  domain = solid::Outside<T>(is_mesh ? nullptr : p.boundary.ends, mesh, p.frame[instance * 5 + 4]);
}

template <int D, class T>
__device__ __forceinline__ data::Field<T, D> field_of(const Walk<T>& p, const data::Data& data, int64_t side) {
  const bool per_polygon = data.kind == data::Kind::per_vertex && p.boundary.polygons > 1;
  return {data, per_polygon ? D * Span(p.boundary, side).begin : side * data.stride, p.frame + p.instance_of(side) * (D + 2)};
}

template <class T>
__device__ __forceinline__ int64_t samples(const Walk<T>& p, int64_t walks) {
  return p.gradient ? walks >> 1 : walks;
}

template <class T>
__device__ __forceinline__ Random<uint32_t> random_of(const Walk<T>& p, int64_t instance, int64_t point, int64_t walk) {
  return {uint32_t(walk), uint32_t(p.first_point + point), uint32_t(p.first_instance + instance), p.key0, p.key1};
}

// The gradient of a walk's node; `walks` becomes the number of walks averaged by the node.
template <class T>
__device__ __forceinline__ const double* grad_of(const WalkAdjoint<T>& q, int64_t instance, int64_t point, int64_t walk, double& walks) {
  const Walk<T>& p = q.forward;
  const NodeOf node = node_of(samples(p, walk), samples(p, p.first_walk), samples(p, p.first_walk + p.walks));
  walks = double(node.size * p.group());
  return q.grad + ((instance * p.N + point) * p.nodes() + node.index) * p.channels();
}

// A point where a walk evaluates the data: a source point, or its end.
template <class T, int D>
struct Met {
  T x[D], weight;
  bool ends, in_first;  // in_first: a source point of a pair's first ball
  T where[D - 1];       // at an end: the weights of its primitive's corners after the first
  int64_t primitive;
  uint32_t mark;
};

// The current walk. Reports its first ball, its source points and its end to a sink.
template <class T, class Domain>
class Walker {
 public:
  static constexpr int D = Domain::D;
  static constexpr int kSharing = D == 2 ? 4 : 2;  // steps per call to Philox: a step uses D - 1 words

  __device__ explicit Walker(const Walk<T>& p) : p_(p) {}
  __device__ bool busy() const { return busy_; }

  // Starts a walk, or stays idle if the start is NaN or the domain is invalid.
  __device__ void begin(const Records<T>& records, int64_t side, int64_t point, int64_t walk) {
    const int64_t instance = p_.instance_of(side);
    const double* const frame = p_.frame + instance * (D + 2);
    const T* const at = p_.start + (instance * p_.N + point) * D;
    set(domain_, p_, records, instance);
    busy_ = at[0] == at[0] && domain_.sound();
    for (int i = 0; i < D; ++i) x_[i] = at[i];
    epsilon_ = T(frame[D + 1]);
    screening_ = T(p_.screening * frame[D] * frame[D]);
    step_ = 0, weight_ = 1, near_ = -1;
    random_ = random_of(p_, instance, point, walk);
  }

  // Makes kSharing steps, or fewer if the walk ends. A walk starts only at the first of these steps.
  template <class Sink>
  __device__ void advance(Sink& sink) {
    uint32_t words[4];
    random_.words(step_ / kSharing, words);
    if (step_ == 0 && (p_.gradient || p_.sobol)) first_words<D>(random_, p_.gradient, p_.sobol, words);
    QF_ROLLED
    for (int s = 0; s < kSharing && busy_; ++s) {
      T n[D];
      direction<T>(words[0], words[D - 2], n);
      for (int i = 0; i + D - 1 < 4; ++i) words[i] = words[i + D - 1];
      step(n, sink);
    }
  }

 private:
  // Evaluates the data in one place for both ends and source points, so that the threads of a warp do both together.
  template <class Sink>
  __device__ void step(const T (&n)[D], Sink& sink) {
    const bool is_last = step_ >= p_.max_steps;
    const Seen<T> seen = domain_.look(x_, near_, is_last);
    near_ = seen.primitive;
    Met<T, D> met{};
    met.ends = is_last || seen.radius <= epsilon_ || weight_ == 0;
    if (met.ends)
      finish(seen, met);
    else
      move(seen.radius, n, sink, met);
    if (met.ends || sink.wants_sources) sink.meet(met);
  }

  // Moves to a point on a ball's surface. Its source point has the weight |G| / extent^2 (3), (10). The first step of a pair (13) uses a
  // smaller ball; its direction and source point are opposite in the two walks.
  template <class Sink>
  __device__ void move(T radius, const T (&along)[D], Sink& sink, Met<T, D>& met) {
    const bool screened = screening_ > 0;
    const T sign = random_.walk & 1 ? T(-1) : T(1);
    Random<uint32_t> random = random_;
    T n[D], m[D] = {}, s{}, next[D];
    for (int i = 0; i < D; ++i) n[i] = along[i];
    met.in_first = p_.gradient && step_ == 0;
    if (screened) radius = lower(radius, T(T(kMaxScreening) / square_root(screening_)));
    if (met.in_first) {
      random.walk >>= 1;
      for (int i = 0; i < D; ++i) n[i] *= sign;
      radius *= T(kShrunk);
    }
    const T z2 = radius * radius * screening_;
    SourceWeight<T> source{T(1), T(0)};
    if (sink.wants_sources) {
      T logarithm{};
      uint32_t words[source_words(D)];
      draw_source_words<D, T>(random, step_, words);
      if (p_.sobol && step_ == 0) put_sobol_source<D>(random, words);
      s = source_point<true>(words, m, logarithm);
      if (met.in_first || screened) source = source_weight<D>(s, logarithm, z2);
      for (int i = 0; met.in_first && i < D; ++i) m[i] *= sign;
    }
    met.weight = radius * radius * T(green_mass(D));
    if (screened && !met.in_first) met.weight = met.weight * weight_ * source.value;
    for (int i = 0; i < D; ++i) met.x[i] = x_[i] + radius * s * m[i], next[i] = x_[i] + radius * n[i];
    if (met.in_first) {
      sink.enter(first_ball(radius, z2, source, n, m));
    } else {
      if constexpr (Domain::outside)
        if (!screened && domain_.far(x_)) come_back(next);
      if (screened) survive(z2);
    }
    for (int i = 0; i < D; ++i) x_[i] = next[i];
    ++step_;
  }

  // (9), (14) Updates the weight after a ball; 0 ends the walk.
  __device__ void survive(T z2) {
    weight_ /= bessel_series<D - 2>(T(z2 * T(0.25)));
    if (!(weight_ < T(kLightWeight))) return;
    uint32_t words[4];
    random_.words(step_ | kRouletteStream, words);
    weight_ = uniform<T>(words[0]) * T(kLightWeight) < weight_ ? T(kLightWeight) : T(0);
  }

  // Returns a distant walk outside the boundary, or ends it with weight 0: solid (5).
  __device__ void come_back(T (&next)[D]) {
    uint32_t words[4];
    random_.words(step_ | kRouletteStream, words);
    T sine, cosine;
    sincos_turn<T>(words[2], sine, cosine);
    weight_ = domain_.come_back(x_, uniform<T>(words[0]), uniform<T>(words[1]), cosine, sine, next);
  }

  __device__ void finish(const Seen<T>& seen, Met<T, D>& met) {
    met.mark = step_, met.primitive = seen.primitive, met.weight = weight_;
    if (weight_ > 0) {
      if (!(seen.radius <= epsilon_)) met.mark |= kCutOff;
      if (domain_.escaped(x_)) met.mark |= kEscaped;
      domain_.project(x_, met.primitive, met.where);
    }
    for (int i = 0; i < D; ++i) met.x[i] = x_[i];
    busy_ = false;
  }

  const Walk<T>& p_;
  Domain domain_;
  T x_[D], epsilon_, screening_, weight_;
  uint32_t step_;
  Random<uint32_t> random_;
  int64_t near_ = -1;  // closest segment or triangle in the previous step
  bool busy_ = false;
};

// Output of the walks' values, one per walk and channel. Consecutive channels are `slots` values apart.
struct Results {
  double* values;
  uint32_t* marks;
  int64_t slots;

  // Marks a slot without a walk.
  __device__ void none(int64_t slot, int channels) const {
    marks[slot] = 0;
    for (int c = 0; c < channels; ++c) values[c * slots + slot] = __builtin_nan("");
  }
};

// The value of a walk and, for a pair, the gradient (13).
template <class T, int D>
class Values {
 public:
  const bool wants_sources;

  __device__ Values(const Walk<T>& p, const Results& to) : wants_sources(p.source.kind != data::Kind::none), p_(p), to_(to) {}

  __device__ void begin(int64_t instance, int64_t slot) {
    boundary_ = field_of<D>(p_, p_.dirichlet, instance);
    if (wants_sources) source_ = field_of<D>(p_, p_.source, instance);
    slot_ = slot;
    sum_ = first_sum_ = 0;
    const T unknown = T(__builtin_nan(""));  // a walk without steps has the boundary value and an unknown gradient
    first_.along = 1, first_.source = 0;
    for (int i = 0; i < D; ++i) first_.outward[i] = first_.toward[i] = unknown;
  }
  __device__ void none(int64_t slot) { to_.none(slot, p_.channels()); }
  __device__ void enter(const First<T, D>& at) { first_ = at; }
  __device__ void meet(const Met<T, D>& met) {
    data::Field<T, D> field = source_;
    if (met.ends) field = boundary_;
    const bool counts = met.in_first || met.weight > 0;
    const double value = !counts                                ? 0
                         : field.kind == data::Kind::per_vertex ? field.on_primitive(met.primitive, met.where)
                                                                : field.value(met.x);
    if (met.ends) return end(met, counts ? double(met.weight) * value : 0);
    const T area = T(source_.frame[D] * source_.frame[D]), share = met.weight * area * T(value);
    if (met.in_first)
      first_sum_ = share;
    else if (counts)
      sum_ += share;
  }

 private:
  __device__ void end(const Met<T, D>& met, double value) {
    to_.marks[slot_] = met.mark;
    const double total = double(sum_) + value;
    if (!p_.gradient) {
      to_.values[slot_] = total;
      return;
    }
    const double s = double(first_sum_);
    const T scale = T(1 / boundary_.frame[D]);  // converts the gradient to absolute coordinates
    to_.values[slot_] = double(first_.along) * total + double(first_.source) * s;
    for (int i = 0; i < D; ++i)
      to_.values[(1 + i) * to_.slots + slot_] = double(T(first_.outward[i] * scale)) * total + double(T(first_.toward[i] * scale)) * s;
  }

  const Walk<T>& p_;
  const Results& to_;
  data::Field<T, D> boundary_, source_;
  int64_t slot_ = 0;
  T sum_ = 0, first_sum_ = 0;
  First<T, D> first_;
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
