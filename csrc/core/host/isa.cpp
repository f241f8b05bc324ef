#include "core/host/isa.hpp"

#include "core/host/check.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace quatrefoil {
namespace {

#define QF_LISTED(level) Isa::level,
constexpr Isa kBuilt[] = {QF_EACH_ISA(QF_LISTED)};  // best first

#if defined(__x86_64__)
// Bits that must be set in one CPUID register.
struct Need {
  unsigned leaf;
  enum { eax, ebx, ecx, edx } part;
  unsigned bits;
};
template <class... Positions>
constexpr unsigned bits(Positions... position) {
  return (0u | ... | (1u << position));
}
// The levels of the x86-64 psABI, read from CPUID: __builtin_cpu_supports in older Clangs does not know their names.
constexpr Need kNeeds2[] = {{1, Need::ecx, bits(0, 9, 13, 19, 20, 23)},  // SSE3, SSSE3, CMPXCHG16B, SSE4.1, SSE4.2, POPCNT
                            {0x80000001u, Need::ecx, bits(0)}};          // LAHF
constexpr Need kNeeds3[] = {{1, Need::ecx, bits(12, 22, 27, 28, 29)},    // FMA, MOVBE, OSXSAVE, AVX, F16C
                            {7, Need::ebx, bits(3, 5, 8)},               // BMI1, AVX2, BMI2
                            {0x80000001u, Need::ecx, bits(5)}};          // LZCNT
constexpr Need kNeeds4[] = {{7, Need::ebx, bits(16, 17, 28, 30, 31)}};   // AVX-512 F, DQ, CD, BW, VL

template <std::size_t n>
bool processor_has(const Need (&needs)[n]) {
  for (const Need& need : needs) {
    unsigned r[4] = {};
    if (!__get_cpuid_count(need.leaf, 0, &r[0], &r[1], &r[2], &r[3]) || (r[need.part] & need.bits) != need.bits) return false;
  }
  return true;
}
// Whether the operating system saves these register parts: 1 and 2 are the two halves of ymm, 5 to 7 are zmm and masks. Requires OSXSAVE.
bool system_saves(unsigned parts) {
  unsigned low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & parts) == parts;
}
#endif

bool supported(Isa level) {
#if defined(__x86_64__)
  switch (level) {
    case Isa::v4: return supported(Isa::v3) && processor_has(kNeeds4) && system_saves(bits(1, 2, 5, 6, 7));
    case Isa::v3: return supported(Isa::v2) && processor_has(kNeeds3) && system_saves(bits(1, 2));
    case Isa::v2: return processor_has(kNeeds2);
    case Isa::base: return false;
  }
#endif
  return level == Isa::base;
}

Isa chosen = kBuilt[std::size(kBuilt) - 1];

}  // namespace

Isa isa() { return chosen; }

const char* name(Isa level) {
  constexpr const char* names[] = {"base", "v2", "v3", "v4"};
  return names[int(level)];
}

std::vector<Isa> isas_built() { return {std::begin(kBuilt), std::end(kBuilt)}; }

std::vector<Isa> isas_supported() {
  std::vector<Isa> levels;
  for (Isa level : kBuilt)
    if (supported(level)) levels.push_back(level);
  return levels;
}

void choose_isa(const std::string& want) {
  std::string possible;
  for (Isa level : isas_supported()) {
    if (want.empty() || want == name(level)) {
      chosen = level;
      return;
    }
    possible += (possible.empty() ? "" : ", ") + std::string(name(level));
  }
  if (want.empty()) throw ValueError("quatrefoil: this processor supports none of the instruction sets that the kernels were built for");
  throw ValueError("QUATREFOIL_ISA=" + want + " is not available; available: " + possible +
                   "; QUATREFOIL_ISAS=all pip install . builds all of them");
}

}  // namespace quatrefoil
