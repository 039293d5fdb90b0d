// Bytes: constants, alignment, and how people write sizes. GB is 10^9, GiB is 2^30.
#ifndef GLINT_BASE_UNITS_H_
#define GLINT_BASE_UNITS_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "glint/base/status.h"

namespace glint {

inline constexpr uint64_t kKiB = 1024;
inline constexpr uint64_t kMiB = 1024 * kKiB;
inline constexpr uint64_t kGiB = 1024 * kMiB;

// REQUIRES: alignment is a power of two and value + alignment does not overflow.
constexpr uint64_t AlignDown(uint64_t value, uint64_t alignment) { return value & ~(alignment - 1); }
constexpr uint64_t AlignUp(uint64_t value, uint64_t alignment) { return AlignDown(value + alignment - 1, alignment); }
constexpr uint64_t DivideUp(uint64_t value, uint64_t divisor) { return (value + divisor - 1) / divisor; }

// Parses "512MB", "4GiB", "1.5 GB", "64k" (k, m, g alone are decimal) or a plain number of bytes.
Result<uint64_t> ParseBytes(std::string_view text);

// Returns for example "3.83 GB", "512 B", "15.0 MB" (decimal units, three significant digits).
std::string FormatBytes(uint64_t bytes);

}  // namespace glint

#endif  // GLINT_BASE_UNITS_H_
