// Causal attention of one token over the KV cache, with an online softmax (Milakov & Gimelshein, arXiv 1805.02867).
#ifndef GLINT_RUNTIME_ATTENTION_H_
#define GLINT_RUNTIME_ATTENTION_H_

#include <cstdint>
#include <span>

#include "glint/base/ids.h"
#include "runtime/kernels/kernels.h"
#include "runtime/kv_cache.h"

namespace glint {

// Positions that are summed together. Blocks start at multiples of this absolute position and are merged ascending, so
// that a token's result does not depend on the batch it came in (design, section 2a.5).
inline constexpr uint32_t kAttentionBlock = 64;

// Floats of scratch that one lane of Attend needs.
uint64_t AttentionScratchFloats(uint32_t head_size);

// For each head in [head_begin, head_end): out[head] = softmax(q[head] · K) V over positions 0 .. position, which must
// be stored. q is [head][head_size], already scaled; out likewise; other heads' parts are not touched, so that lanes
// split a token by heads. `out` may be `q`. Allocates nothing.
// REQUIRES: scratch holds AttentionScratchFloats(head_size) and is not shared between lanes.
void Attend(const Kernels& kernels, const KvCache& cache, LayerIndex layer, uint32_t position, std::span<const float> q,
            uint32_t head_begin, uint32_t head_end, std::span<float> scratch, std::span<float> out);

}  // namespace glint

#endif  // GLINT_RUNTIME_ATTENTION_H_
