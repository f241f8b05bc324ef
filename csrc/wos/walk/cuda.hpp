// One walk on a GPU, step by step: README (1) to (4), (9) to (15). A thread takes the next walk as soon as its own has ended. For cuda.cu
// files of the nouns that build on it.
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

// What a boundary's pieces have been made into, once a call.
template <class T>
struct Records {
  const polygon::Record<T>* segments = nullptr;
  const T* triangles = nullptr;
  const T* boxes = nullptr;
};

// Where the pieces of an instance's polygon begin and end.
struct Span {
  int64_t begin, end;
  __device__ Span(const Pieces& of, int64_t instance) {
    const int64_t at = of.polygons == 1 ? 0 : instance;
    begin = min(max(of.first[at], int64_t(0)), of.count);
    end = min(max(of.first[at + 1], begin), of.count);
  }
};

template <class T, int D>
__device__ __forceinline__ void set(solid::Ball<T, D>&, const Walk<T>&, const Records<T>&, int64_t) {}
template <class T, int D>
__device__ __forceinline__ void set(solid::Inside<T, D>& domain, const Walk<T>& p, const Records<T>&, int64_t) {
  domain = solid::Inside<T, D>(p.pieces.ends, p.pieces.width);
}
template <class T>
__device__ __forceinline__ void set(polygon::Polygon<T>& domain, const Walk<T>& p, const Records<T>& made, int64_t instance) {
  const Span span(p.pieces, instance);
  domain = polygon::Polygon<T>({made.segments}, made.boxes, p.pieces.count, span.begin, span.end);
}
template <class T>
__device__ __forceinline__ void set(mesh::Mesh<T>& domain, const Walk<T>& p, const Records<T>& made, int64_t) {
  domain = mesh::Mesh<T>({made.triangles, p.pieces.ends}, made.boxes, p.pieces.count, 0, p.pieces.count);
}
template <class T>
__device__ __forceinline__ void set(solid::Outside<T>& domain, const Walk<T>& p, const Records<T>& made, int64_t) {
  const bool is_mesh = p.pieces.ends && !p.pieces.solid;
  mesh::Mesh<T> mesh;
  if (is_mesh) set(mesh, p, made, 0);
  domain = solid::Outside<T>(is_mesh ? nullptr : p.pieces.ends, mesh);
}

// The numbers of an instance.
template <int D, class T>
__device__ __forceinline__ data::Field<T, D> field_of(const Walk<T>& p, const data::Data& data, int64_t instance) {
  const bool in_pieces = data.kind == data::Kind::per_vertex && p.pieces.polygons > 1;
  return {data, in_pieces ? D * Span(p.pieces, instance).begin : instance * data.stride, p.frame + instance * (D + 2)};
}

// The gradient of the node of a walk, and how many walks the node is the mean of.
template <class T>
__device__ __forceinline__ const double* grad_of(const WalkAdjoint<T>& q, int64_t instance, int64_t point, int64_t walk, double& walks) {
  const Walk<T>& p = q.forward;
  const int64_t sample = walk / p.group(), end = (p.first_walk + p.walks) / p.group();
  int64_t at = p.first_walk / p.group(), node = 0, size = node_size(at, end);
  for (; at + size <= sample; size = node_size(at, end)) at += size, ++node;
  walks = double(size * p.group());
  return q.grad + ((instance * p.N + point) * p.nodes() + node) * p.channels();
}

// The walk at hand. A sink is told of its first ball, its source points and its end, as those of the host are.
template <class T, class Domain>
class Walker {
 public:
  static constexpr int D = Domain::D;
  static constexpr int kSharing = D == 2 ? 4 : 2;  // steps that share one call of Philox: a step takes D - 1 words

  __device__ explicit Walker(const Walk<T>& p) : p_(p) {}
  __device__ bool busy() const { return busy_; }

  // Takes a walk; without one where none starts.
  __device__ void begin(const Records<T>& made, int64_t instance, int64_t point, int64_t walk) {
    const double* const frame = p_.frame + instance * (D + 2);
    const T* const at = p_.start + (instance * p_.N + point) * D;
    set(domain_, p_, made, instance);
    busy_ = at[0] == at[0] && domain_.sound();
    for (int i = 0; i < D; ++i) x_[i] = at[i];
    epsilon_ = T(frame[D + 1]);
    screening_ = T(p_.screening * frame[D] * frame[D]);
    step_ = 0, weight_ = 1, near_ = -1;
    walk_ = uint32_t(walk), point_ = uint32_t(p_.first_point + point), instance_ = uint32_t(p_.first_instance + instance);
  }

  // kSharing steps, or fewer where it ends. Walks begin at the first of them.
  template <class Sink>
  __device__ void advance(Sink& sink) {
    uint32_t words[4] = {step_ / kSharing, walk_, point_, instance_};
    philox(words, p_.key0, p_.key1);
    QF_UNROLL(1)
    for (int s = 0; s < kSharing && busy_; ++s) {
      T n[D];
      direction<T>(words[0], words[D - 2], n);
      for (int i = 0; i + D - 1 < 4; ++i) words[i] = words[i + D - 1];
      step(n, sink);
    }
  }

 private:
  template <class Sink>
  __device__ void step(T (&n)[D], Sink& sink) {
    const Seen<T> seen = domain_.look(x_, near_);
    near_ = seen.primitive;
    if (seen.radius <= epsilon_ || step_ >= p_.max_steps || weight_ == 0) return finish(seen, sink);
    const bool screened = screening_ > 0, first = p_.gradient && step_ == 0;
    T radius = screened ? lower(seen.radius, T(T(kMostScreened) / square_root(screening_))) : seen.radius;
    if (first)
      enter(radius, n, sink);
    else if (sink.wants_sources)
      record(radius, sink);
    T next[D];
    for (int i = 0; i < D; ++i) next[i] = x_[i] + radius * n[i];
    if constexpr (Domain::outside)
      if (!first && domain_.far(x_)) come_back(next);
    if (screened && !first) survive(radius);
    for (int i = 0; i < D; ++i) x_[i] = next[i];
    ++step_;
  }
  __device__ void random(uint32_t counter, uint32_t walk, uint32_t (&words)[4]) const {
    words[0] = counter, words[1] = walk, words[2] = point_, words[3] = instance_;
    philox(words, p_.key0, p_.key1);
  }

  // A source point (4a), (4b) in the ball of radius 1: its radius s, -log s in the plane, and its direction.
  __device__ T source_point(uint32_t walk, T (&m)[D], T& logarithm) const {
    uint32_t a[4];
    random(step_ | kSourceStream, walk, a);
    const T u1 = uniform<T>(a[0]), u2 = uniform<T>(a[1]);
    if constexpr (D == 2) {
      direction<T>(a[2], a[2], m);
      logarithm = elementary::log(T(u1 * u2)) * T(-0.5);
      return source_radius_disc(u1, u2);
    } else {
      uint32_t b[4];
      random(step_ | (kSourceStream + kTrial), walk, b);
      direction<T>(b[0], b[1], m);
      return source_radius_ball(u1, u2, uniform<T>(a[2]));
    }
  }
  __device__ SourceWeight<T> source_weight(T s, T logarithm, T z2) const {
    if constexpr (D == 2)
      return source_weight_disc(s, logarithm, z2);
    else
      return source_weight_ball(s, z2);
  }

  // With |G| / extent^2 as its weight (3), (10).
  template <class Sink>
  __device__ void record(T radius, Sink& sink) {
    T m[D], logarithm{}, area = radius * radius * T(green_mass(D));
    const T s = source_point(walk_, m, logarithm);
    if (screening_ > 0) area = area * weight_ * source_weight(s, logarithm, T(radius * radius * screening_)).value;
    for (int i = 0; i < D; ++i) m[i] = x_[i] + radius * s * m[i];
    sink.source(m, area, false);
  }

  // The first step of a walk of a pair (13): a shorter ball, and a direction and a source point that are opposite in the other walk.
  template <class Sink>
  __device__ void enter(T& radius, T (&n)[D], Sink& sink) {
    const uint32_t pair = walk_ >> 1;
    const T sign = walk_ & 1 ? T(-1) : T(1);
    uint32_t words[4];
    random(kFirstStream, pair, words);
    T m[D] = {}, s{}, logarithm{};
    direction<T>(words[0], words[1], n);
    for (int i = 0; i < D; ++i) n[i] *= sign;
    radius *= T(kShrunk);
    const T z2 = radius * radius * screening_;
    SourceWeight<T> source{T(1), T(0)};
    if (sink.wants_sources) {
      s = source_point(pair, m, logarithm);
      source = source_weight(s, logarithm, z2);
      for (int i = 0; i < D; ++i) m[i] *= sign;
    }
    First<T, D> at;
    at.along = T(1) / bessel_series<D - 2>(T(z2 * T(0.25)));
    at.source = source.value;
    const T outward = T(D) / (radius * bessel_series<D>(T(z2 * T(0.25))));
    for (int i = 0; i < D; ++i) at.outward[i] = outward * n[i], at.toward[i] = source.gradient / radius * m[i];
    sink.enter(at);
    for (int i = 0; i < D; ++i) m[i] = x_[i] + radius * s * m[i];
    if (sink.wants_sources) sink.source(m, T(radius * radius * T(green_mass(D))), true);
  }

  // (9), (14) What is left of the weight after a ball, or nothing: then the walk has ended.
  __device__ void survive(T radius) {
    weight_ /= bessel_series<D - 2>(T(radius * radius * (screening_ * T(0.25))));
    if (!(weight_ < T(kLightWeight))) return;
    uint32_t words[4];
    random(step_ | kRouletteStream, walk_, words);
    weight_ = uniform<T>(words[0]) * T(kLightWeight) < weight_ ? T(kLightWeight) : T(0);
  }

  // A walk outside that is far away returns, or ends with the weight 0: solid (5).
  __device__ void come_back(T (&next)[D]) {
    uint32_t words[4];
    random(step_ | kRouletteStream, walk_, words);
    T sine, cosine;
    sincos_turn<T>(words[2], sine, cosine);
    weight_ = domain_.come_back(x_, uniform<T>(words[0]), uniform<T>(words[1]), cosine, sine, next);
  }

  template <class Sink>
  __device__ void finish(const Seen<T>& seen, Sink& sink) {
    uint32_t mark = step_;
    int64_t primitive = seen.primitive;
    T where[D - 1] = {};
    if (weight_ > 0) {
      if (!(seen.radius <= epsilon_)) mark |= kCutOff;
      if (domain_.escaped(x_)) mark |= kEscaped;
      domain_.project(x_, primitive, where);
    }
    sink.end(x_, where, primitive, weight_, mark);
    busy_ = false;
  }

  const Walk<T>& p_;
  Domain domain_;
  T x_[D], epsilon_, screening_, weight_;
  uint32_t step_, walk_, point_, instance_;
  int64_t near_ = -1;  // the piece that was closest in the step before
  bool busy_ = false;
};

// What a walk is worth: its value, or a pair's (13). A channel of the values begins every `slots` numbers.
template <class T, int D>
class Values {
 public:
  const bool wants_sources;

  __device__ Values(const Walk<T>& p, double* values, int64_t slots, uint32_t* marks)
      : wants_sources(p.source.kind != data::Kind::none), p_(p), values_(values), slots_(slots), marks_(marks) {}

  __device__ void begin(int64_t instance, int64_t slot) {
    boundary_ = field_of<D>(p_, p_.dirichlet, instance);
    if (wants_sources) source_ = field_of<D>(p_, p_.source, instance);
    slot_ = slot;
    sum_ = first_sum_ = 0;
    const T unknown = T(__builtin_nan(""));  // without a step the value is that of the boundary, the gradient is not known
    first_.along = 1, first_.source = 0;
    for (int i = 0; i < D; ++i) first_.outward[i] = first_.toward[i] = unknown;
  }
  // No walk starts.
  __device__ void none(int64_t slot) {
    marks_[slot] = 0;
    for (int c = 0; c < p_.channels(); ++c) values_[c * slots_ + slot] = __builtin_nan("");
  }
  __device__ void enter(const First<T, D>& at) { first_ = at; }
  __device__ void source(const T (&x)[D], T weight, bool in_first) {
    const T area = T(source_.frame[D] * source_.frame[D]), met = weight * area * T(source_.value(x));
    if (in_first)
      first_sum_ = met;
    else if (weight > 0)
      sum_ += met;
  }
  __device__ void end(const T (&x)[D], const T (&where)[D - 1], int64_t primitive, T weight, uint32_t mark) {
    marks_[slot_] = mark;
    double found = double(sum_);
    if (weight > 0)
      found += double(weight) * (boundary_.kind == data::Kind::per_vertex ? boundary_.on_piece(primitive, where) : boundary_.value(x));
    if (!p_.gradient) {
      values_[slot_] = found;
      return;
    }
    const double s = double(first_sum_);
    const T scale = T(1 / boundary_.frame[D]);  // the gradient is that of absolute coordinates
    values_[slot_] = double(first_.along) * found + double(first_.source) * s;
    for (int i = 0; i < D; ++i)
      values_[(1 + i) * slots_ + slot_] = double(T(first_.outward[i] * scale)) * found + double(T(first_.toward[i] * scale)) * s;
  }

 private:
  const Walk<T>& p_;
  double* const values_;
  const int64_t slots_;
  uint32_t* const marks_;
  data::Field<T, D> boundary_, source_;
  int64_t slot_ = 0;
  T sum_ = 0, first_sum_ = 0;
  First<T, D> first_;
};

}  // namespace QF_ISA
}  // namespace quatrefoil::wos::walk
