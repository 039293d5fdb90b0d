// A stretch of a file. Where a comment says "aligned", both numbers are multiples of that alignment.
#ifndef GLINT_STORAGE_FLASH_EXTENT_H_
#define GLINT_STORAGE_FLASH_EXTENT_H_

#include <compare>
#include <cstdint>

namespace glint {

struct Extent {
  uint64_t offset = 0;  // from the start of the model file (not of the underlying file)
  uint64_t bytes = 0;

  constexpr uint64_t end() const { return offset + bytes; }
  constexpr auto operator<=>(const Extent&) const = default;
};

}  // namespace glint

#endif  // GLINT_STORAGE_FLASH_EXTENT_H_
