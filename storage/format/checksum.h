// The one checksum of the model file.
#ifndef GLINT_STORAGE_FORMAT_CHECKSUM_H_
#define GLINT_STORAGE_FORMAT_CHECKSUM_H_

#include <cstddef>
#include <cstdint>
#include <span>

namespace glint {

// XXH3-64 with seed 0, of every granule and section.
uint64_t Checksum(std::span<const std::byte> bytes);

}  // namespace glint

#endif  // GLINT_STORAGE_FORMAT_CHECKSUM_H_
