#include "storage/format/checksum.h"

#include <xxhash.h>

namespace glint {

uint64_t Checksum(std::span<const std::byte> bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

}  // namespace glint
