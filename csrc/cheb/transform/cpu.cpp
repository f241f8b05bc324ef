// Values on Chebyshev points <-> Chebyshev coefficients. Compiled once per instruction set.
#include "cheb/transform/chirp.hpp"

namespace quatrefoil::cheb::transform {
inline namespace QF_ISA {

template <class T>
void transform(const Transform<T>& p) {
  const int64_t numbers = p.before * p.n * p.after;
  if (numbers == 0) return;
  if (p.n == 1) {
    if (p.y != p.x) __builtin_memcpy(p.y, p.x, std::size_t(numbers) * sizeof(T));
  } else if (CosineMatrices(p.n - 1).multiply_adds <= kChirpWorth * Chirp<T>::size(p.n)) {
    Folds<T>(p).run();
  } else {
    Chirp<T>(p).run();
  }
}

extern const Table kernels;
const Table kernels = {{transform<float>}, {transform<double>}};

}  // namespace QF_ISA
}  // namespace quatrefoil::cheb::transform
