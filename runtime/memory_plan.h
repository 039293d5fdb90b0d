// Divides the budget into named shares before anything large is allocated. Pure: no file, no system call.
//
// What each token needs comes first (pinned weights, KV, scratch, staging for a few long reads): that is the least
// budget. What is left buys, in this order: staging for deep reads, a larger batch, the rows known first (with a
// predictor that computes them: each of their bytes saves a byte on every token), and slots for the neuron cache, the
// same number for each layer.
#ifndef GLINT_RUNTIME_MEMORY_PLAN_H_
#define GLINT_RUNTIME_MEMORY_PLAN_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "glint/base/status.h"
#include "storage/cache/bundle_stream.h"
#include "storage/cache/residency.h"
#include "storage/format/bundle_layout.h"
#include "storage/format/model_directory.h"

namespace glint {

// Sessions of one model; with the bounds of a config it keeps every sum of the plan in 64 bits.
inline constexpr uint32_t kSessionsMax = 1024;

struct MemoryRequest {
  uint64_t budget_bytes = 0;
  uint32_t context = 0;       // positions of each session
  uint32_t sessions_max = 1;  // at most kSessionsMax
  uint32_t threads = 1;
  uint32_t batch_max = 64;
  uint32_t window_tokens = kWindowUnbounded;
  std::optional<uint32_t> slots_max;  // over all layers
  // At most so much staging (but never less than one bundle needs); for tests and experiments with small waves.
  std::optional<uint64_t> staging_bytes_max;
  bool rows_known_first = true;    // the predictor computes them (exact); else bundles are read whole
  uint64_t reader_held_bytes = 0;  // rings, stacks
  uint64_t gap_bytes_max = BundleStreamOptions().gap_bytes_max;
};

// Bytes. Their sum is at most the budget.
struct MemoryShares {
  uint64_t pinned = 0;     // weights, tables, tokenizer, rows known first
  uint64_t predictor = 0;  // active sets
  uint64_t kv = 0;
  uint64_t slots = 0;  // the neuron cache and its tables
  uint64_t staging = 0;
  uint64_t scratch = 0;
  uint64_t kernel = 0;  // page tables, rings

  uint64_t Total() const { return pinned + predictor + kv + slots + staging + scratch + kernel; }
};

struct MemoryPlan {
  MemoryShares shares;
  uint64_t least_budget_bytes = 0;
  uint32_t batch_max = 1;
  uint64_t staging_bytes = 0;     // of shares.staging, without tables
  uint64_t slot_arena_bytes = 0;  // of shares.slots, without tables
  bool quantized = false;         // some weights want quantised inputs
  BundlePart slot_part = BundlePart::kWhole;
  std::vector<uint32_t> slots_per_layer;
  std::vector<uint32_t> first_pinned;  // by layer: bundles [0, n) have their first granule pinned
};

// kOutOfBudget where the budget is below the least that would do (which it names); kInvalidArgument for a context that
// the model was not made for.
Result<MemoryPlan> PlanMemory(const ModelDirectory& directory, const MemoryRequest& request);

// Flash traffic of one token once the cache is warm, from the plan alone.
struct TrafficEstimate {
  uint64_t bytes_per_token_max = 0;  // every neuron active
  uint64_t bytes_per_token_expected =
      0;  // at the file's stated activity, independent neurons; max where none is stated
};
TrafficEstimate EstimateTraffic(const ModelDirectory& directory, const MemoryRequest& request, const MemoryPlan& plan);

}  // namespace glint

#endif  // GLINT_RUNTIME_MEMORY_PLAN_H_
