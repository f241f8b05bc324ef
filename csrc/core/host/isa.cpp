#include "core/host/isa.hpp"

#include "core/host/check.hpp"

namespace quatrefoil {
namespace {

#define QF_LISTED(level) Isa::level,
constexpr Isa kBuilt[] = {QF_EACH_ISA(QF_LISTED)};  // best first

bool here(Isa level) {
#if defined(__x86_64__)
  switch (level) {
    case Isa::v4: return __builtin_cpu_supports("x86-64-v4");
    case Isa::v3: return __builtin_cpu_supports("x86-64-v3");
    case Isa::v2: return __builtin_cpu_supports("x86-64-v2");
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

std::vector<Isa> isas_here() {
  std::vector<Isa> found;
  for (Isa level : kBuilt)
    if (here(level)) found.push_back(level);
  return found;
}

void choose_isa(const std::string& want) {
  std::string possible;
  for (Isa level : isas_here()) {
    if (want.empty() || want == name(level)) {
      chosen = level;
      return;
    }
    possible += (possible.empty() ? "" : ", ") + std::string(name(level));
  }
  if (want.empty()) throw ValueError("quatrefoil: this processor runs none of the instruction sets that were built");
  throw ValueError("QUATREFOIL_ISA=" + want + " cannot be met; possible here: " + possible);
}

}  // namespace quatrefoil
