// How much may be held where nobody said: asks the operating system.
#ifndef GLINT_RUNTIME_DEFAULT_BUDGET_H_
#define GLINT_RUNTIME_DEFAULT_BUDGET_H_

#include <cstdint>
#include <string>

#include "glint/base/status.h"

namespace glint {

// The smaller of 75% of the available memory (MemAvailable) and the least limit of this process's memory cgroups (v1 or
// v2, parents included) less 64 MiB. `root` is "" except in tests, which put a made-up /proc and /sys below it.
Result<uint64_t> DefaultBudgetBytes(const std::string& root = "");

}  // namespace glint

#endif  // GLINT_RUNTIME_DEFAULT_BUDGET_H_
