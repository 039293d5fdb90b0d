#include "runtime/memory_plan.h"

#include <algorithm>
#include <cmath>

#include "glint/base/text.h"
#include "glint/base/units.h"
#include "runtime/decoder_buffers.h"
#include "runtime/kv_cache.h"
#include "runtime/pinned_weights.h"
#include "runtime/sampler.h"
#include "runtime/sparse_ffn.h"
#include "storage/cache/neuron_cache.h"

namespace glint {

namespace {

// Less staging than this makes reads so short and shallow that a token takes minutes; more does not make them deeper.
constexpr uint64_t kStagingBytesLeast = 1 * kMiB;
constexpr uint64_t kStagingBytesMax = 8 * kMiB;
// An entry of the directory in memory: name, numbers, and the allocator's share.
constexpr uint64_t kDirectoryEntryBytes = 256;

bool AnyQuantized(const ModelDirectory& directory) {
  return IsQuantized(directory.type) || std::any_of(directory.matrices.begin(), directory.matrices.end(),
                                                    [](const MatrixEntry& matrix) { return IsQuantized(matrix.type); });
}

// One page of page table maps 512 pages. Any number of bytes will do, the largest budget too.
uint64_t PageTableBytes(uint64_t bytes) { return AlignUp(bytes / 512 + 1, kPageBytes); }

uint64_t SectionBytes(const Section& section) { return AlignUp(section.extent.bytes, kPageBytes); }

class Planner {
 public:
  Planner(const ModelDirectory& directory, const MemoryRequest& request)
      : directory_(directory), config_(directory.config), request_(request) {
    for (const FfnEntry& entry : directory_.ffn) {
      flash_.push_back({.entry = &entry});
      bundles_max_ = std::max(bundles_max_, entry.layout.bundle_count());
    }
  }

  Result<MemoryPlan> Plan() {
    GLINT_RETURN_IF_ERROR(CheckRequest());
    StartWithTheLeast();
    if (request_.budget_bytes < plan_.least_budget_bytes) {
      return OutOfBudget(Concat("the budget of ", request_.budget_bytes, " bytes (", FormatBytes(request_.budget_bytes),
                                ") is too small; the least for a context of ", request_.context, " is ",
                                plan_.least_budget_bytes, " bytes (", FormatBytes(plan_.least_budget_bytes), ")"));
    }
    GrowStaging();
    GrowBatch();
    if (request_.rows_known_first) PinFirstRows();
    ShareOutSlots();
    plan_.shares.kernel = request_.reader_held_bytes + PageTableBytes(plan_.shares.Total());
    GLINT_CHECK(plan_.shares.Total() <= request_.budget_bytes);
    return plan_;
  }

 private:
  Status CheckRequest() const {
    if (request_.context == 0 || request_.context > config_.context_max) {
      return InvalidArgument(Concat("a context of ", request_.context, " is out of range; the model was made for 1 to ",
                                    config_.context_max, " positions"));
    }
    GLINT_CHECK(request_.sessions_max >= 1 && request_.sessions_max <= kSessionsMax);
    GLINT_CHECK(request_.threads >= 1 && request_.batch_max >= 1);
    return Status::Ok();
  }

  void StartWithTheLeast() {
    const KvShape kv{config_.layer_count, config_.head_count, config_.head_size(), request_.context};
    const uint64_t entries = directory_.vectors.size() + directory_.matrices.size() + directory_.ffn.size();
    MemoryShares& shares = plan_.shares;
    shares.pinned = AlignUp(ModelTables::BytesNeeded(directory_), kPageBytes) + SectionBytes(directory_.tokenizer) +
                    PinnedWeights::BytesNeeded(directory_) + entries * kDirectoryEntryBytes;
    shares.predictor = SparseFfn::HeldBytes(directory_);
    shares.kv = request_.sessions_max * AlignUp(KvCache::BytesNeeded(kv), kPageBytes);
    plan_.quantized = AnyQuantized(directory_);
    plan_.slot_part = request_.rows_known_first ? BundlePart::kRest : BundlePart::kWhole;
    plan_.slots_per_layer.assign(config_.layer_count, 0);
    plan_.first_pinned.assign(config_.layer_count, 0);
    shares.slots = NeuronCache::HeldBytes(flash_, plan_.slots_per_layer);
    plan_.staging_bytes = StagingBytes(kStagingBytesLeast);
    shares.staging = plan_.staging_bytes + BundleStream::HeldBytes(bundles_max_);
    plan_.batch_max = 1;
    shares.scratch = ScratchBytes(1);
    const uint64_t taken = shares.Total();
    uint64_t least = taken + request_.reader_held_bytes;
    for (int i = 0; i < 3; ++i) least = taken + request_.reader_held_bytes + PageTableBytes(least);
    plan_.least_budget_bytes = least;
    // Page tables of the whole budget are the most that the final plan can need.
    const uint64_t needed = taken + request_.reader_held_bytes + PageTableBytes(request_.budget_bytes);
    left_ = request_.budget_bytes > needed ? request_.budget_bytes - needed : 0;
  }

  uint64_t ScratchBytes(uint32_t batch) const {
    const uint64_t sessions = request_.sessions_max * AlignUp(SessionBytes(), kPageBytes);
    return AlignUp(DecoderBuffers::BytesNeeded(config_, batch, request_.threads, plan_.quantized), kPageBytes) +
           sessions;
  }

  // Logits, the tokens so far, and what the sampler holds.
  uint64_t SessionBytes() const {
    return AlignUp(uint64_t{config_.vocab_size} * sizeof(float), 64) + uint64_t{request_.context} * sizeof(TokenId) +
           Sampler::HeldBytes(config_.vocab_size);
  }

  // `wanted` bytes, but no more than the largest layer can use or the request allows, and enough for any one bundle.
  uint64_t StagingBytes(uint64_t wanted) const {
    uint64_t least = 0;
    uint64_t useful = 0;
    for (const FfnEntry& entry : directory_.ffn) {
      least = std::max(least, BundleStream::StagingBytesMin(entry.layout));
      useful = std::max(useful, entry.layout.extent_bytes());
    }
    if (request_.staging_bytes_max) wanted = std::min(wanted, *request_.staging_bytes_max);
    return AlignUp(std::max(least, std::min(wanted, useful)), kPageBytes);
  }

  // Staging and batch each take their part of what is left whole, used or not: a part rounded to what is used would
  // make the rest smaller where the budget grows past a step.
  void GrowStaging() {
    const uint64_t before = plan_.staging_bytes;
    const uint64_t more = std::min(left_ / 4, StagingBytes(kStagingBytesMax) - before);
    plan_.staging_bytes += AlignDown(more, kPageBytes);
    plan_.shares.staging += AlignDown(more, kPageBytes);
    left_ -= more;
  }

  void GrowBatch() {
    const uint64_t one = ScratchBytes(1);
    const uint64_t more = std::min(left_ / 4, ScratchBytes(request_.batch_max) - one);
    uint32_t batch = request_.batch_max;
    while (ScratchBytes(batch) - one > more) --batch;
    plan_.batch_max = batch;
    plan_.shares.scratch = ScratchBytes(batch);
    left_ -= more;
  }

  void PinFirstRows() {
    for (uint32_t i = 0; i < config_.layer_count; ++i) {
      const BundleLayout& layout = directory_.ffn[i].layout;
      const uint64_t each = layout.PartBytes(BundlePart::kFirst);
      // Each layer's begins on a page.
      const uint64_t room = AlignDown(left_, kPageBytes);
      const auto count = static_cast<uint32_t>(std::min<uint64_t>(layout.bundle_count(), room / each));
      const uint64_t bytes = AlignUp(count * each, kPageBytes);
      plan_.first_pinned[i] = count;
      plan_.shares.pinned += bytes;
      left_ -= bytes;
    }
  }

  // Layer after layer without gaps, as NeuronCache lays them out.
  uint64_t SlotArenaBytes() const {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < config_.layer_count; ++i) {
      bytes += plan_.slots_per_layer[i] * directory_.ffn[i].layout.PartBytes(plan_.slot_part);
    }
    return AlignUp(bytes, kPageBytes);
  }

  uint64_t SlotsBytes() const { return SlotArenaBytes() + NeuronCache::HeldBytes(flash_, plan_.slots_per_layer); }

  // The largest even share that fits, found by bisection since the tables grow with it.
  void ShareOutSlots() {
    if (request_.window_tokens == 0) return;
    const uint64_t empty = plan_.shares.slots;
    uint32_t fits = 0;
    uint32_t beyond = bundles_max_ + 1;
    while (beyond - fits > 1) {
      const uint32_t middle = fits + (beyond - fits) / 2;
      SetSlots(middle);
      (SlotsBytes() - empty <= left_ ? fits : beyond) = middle;
    }
    SetSlots(fits);
    plan_.shares.slots = SlotsBytes();
    plan_.slot_arena_bytes = SlotArenaBytes();
    left_ -= plan_.shares.slots - empty;
  }

  void SetSlots(uint32_t per_layer) {
    if (request_.slots_max) per_layer = std::min(per_layer, *request_.slots_max / config_.layer_count);
    for (uint32_t i = 0; i < config_.layer_count; ++i) {
      plan_.slots_per_layer[i] = std::min(per_layer, directory_.ffn[i].layout.bundle_count());
    }
  }

  const ModelDirectory& directory_;
  const ModelConfig& config_;
  const MemoryRequest& request_;
  std::vector<FfnOnFlash> flash_;
  uint32_t bundles_max_ = 0;
  uint64_t left_ = 0;
  MemoryPlan plan_;
};

}  // namespace

Result<MemoryPlan> PlanMemory(const ModelDirectory& directory, const MemoryRequest& request) {
  return Planner(directory, request).Plan();
}

TrafficEstimate EstimateTraffic(const ModelDirectory& directory, const MemoryRequest& request, const MemoryPlan& plan) {
  TrafficEstimate estimate;
  double expected = 0;
  for (uint32_t i = 0; i < directory.config.layer_count; ++i) {
    const BundleLayout& layout = directory.ffn[i].layout;
    const double bundles = layout.bundle_count();
    const double slots = plan.slots_per_layer[i];
    const auto bytes_of = [&](BundlePart part) { return static_cast<double>(layout.PartBytes(part)); };
    if (!request.rows_known_first) {
      // All are used in turn, so a fixed prefix of the slots' size stays.
      const double bytes = (bundles - slots) * bytes_of(BundlePart::kWhole);
      estimate.bytes_per_token_max += static_cast<uint64_t>(bytes);
      expected += bytes;
      continue;
    }
    const bool apart = SparseFfn::StreamsFirstRowsApart(layout, request.gap_bytes_max);
    const double known = apart ? bundles : plan.first_pinned[i];
    const double streamed = (known - plan.first_pinned[i]) * bytes_of(BundlePart::kFirst) +
                            (bundles - known) * bytes_of(BundlePart::kWhole);
    // The share of bundles that hold an active neuron, and, of those, the share that is not resident.
    const double activity = directory.config.activity > 0 ? directory.config.activity : 1.0;
    const double active = known * (1 - std::pow(1 - activity, layout.neurons_per_bundle()));
    const double absent = known > slots ? 1 - slots / known : 0;
    estimate.bytes_per_token_max += static_cast<uint64_t>(streamed + known * absent * bytes_of(BundlePart::kRest));
    expected += streamed + active * absent * bytes_of(BundlePart::kRest);
  }
  estimate.bytes_per_token_expected = static_cast<uint64_t>(expected);
  return estimate;
}

}  // namespace glint
