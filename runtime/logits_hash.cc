#include "runtime/logits_hash.h"

#include <algorithm>
#include <array>
#include <bit>

#include "glint/base/check.h"
#include "xxhash.h"

namespace glint {

static_assert(std::endian::native == std::endian::little, "the hash is defined over little-endian floats");

void LogitsHash::FreeState::operator()(XXH3_state_s* state) const { XXH3_freeState(state); }

LogitsHash::LogitsHash() : state_(XXH3_createState()) {
  GLINT_CHECK(state_ != nullptr && XXH3_64bits_reset(state_.get()) == XXH_OK);
}

void LogitsHash::Add(std::span<const float> logits) {
  std::array<float, 256> chunk;
  while (!logits.empty()) {
    const size_t count = std::min(chunk.size(), logits.size());
    // Adding +0 turns -0 into +0 and leaves every other value as it is.
    for (size_t i = 0; i < count; ++i) chunk[i] = logits[i] + 0.0F;
    GLINT_CHECK(XXH3_64bits_update(state_.get(), chunk.data(), count * sizeof(float)) == XXH_OK);
    logits = logits.subspan(count);
  }
}

uint64_t LogitsHash::Digest() const { return XXH3_64bits_digest(state_.get()); }

}  // namespace glint
