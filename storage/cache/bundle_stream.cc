#include "storage/cache/bundle_stream.h"

#include <algorithm>
#include <array>
#include <chrono>

#include "glint/base/check.h"
#include "glint/base/text.h"
#include "storage/flash/aligned_buffer.h"

namespace glint {

namespace {

using Clock = std::chrono::steady_clock;

uint64_t NanosecondsSince(Clock::time_point start) {
  return static_cast<uint64_t>(std::chrono::nanoseconds(Clock::now() - start).count());
}

}  // namespace

BundleStream::BundleStream(ModelFile* file, std::span<std::byte> staging, uint32_t bundle_count_max,
                           const BundleStreamOptions& options)
    : file_(file), staging_(staging), bundle_count_max_(bundle_count_max), options_(options) {
  GLINT_CHECK(reinterpret_cast<uintptr_t>(staging.data()) % kPageBytes == 0);
  GLINT_CHECK(options.chunk_bytes_max <= kGiB);  // FlashRead counts in 32 bits
  bundles_.reserve(bundle_count_max);
  wanted_.reserve(bundle_count_max);
  arrivals_.reserve(bundle_count_max);
  chunks_.reserve(ChunksMax(bundle_count_max));
  ended_.reserve(ChunksMax(bundle_count_max));
}

// A layer's extent begins on at least a page and so does each bundle, so a part that is aligned out stays inside its
// bundle's pages.
uint64_t BundleStream::StagingBytesMin(const BundleLayout& layout) {
  return AlignUp(layout.PartBytes(BundlePart::kWhole), kPageBytes);
}

uint32_t BundleStream::ChunksMax(uint32_t bundle_count_max) { return std::min(bundle_count_max, kChunksPerWaveMax); }

uint64_t BundleStream::HeldBytes(uint32_t bundle_count_max) {
  return bundle_count_max * uint64_t{sizeof(BundleIndex) + sizeof(Extent) + sizeof(BundleView)} +
         ChunksMax(bundle_count_max) * uint64_t{sizeof(Chunk) + sizeof(uint32_t)};
}

void BundleStream::Begin(const FfnOnFlash& ffn, BundlePart part, std::span<const BundleIndex> bundles) {
  GLINT_CHECK(!streaming_ && bundles.size() <= bundle_count_max_);
  const BundleLayout& layout = ffn.entry->layout;
  GLINT_CHECK(StagingBytesMin(layout) <= staging_.size());
  GLINT_CHECK(ffn.first_checksums.size() >= layout.bundle_count() &&
              ffn.rest_checksums.size() >= layout.bundle_count());
  streaming_ = true;
  failed_ = false;
  ffn_ = ffn;
  part_ = part;
  bundles_.assign(bundles.begin(), bundles.end());
  wanted_.clear();
  for (size_t i = 0; i < bundles.size(); ++i) {
    GLINT_CHECK(bundles[i].value < layout.bundle_count() && (i == 0 || bundles[i - 1] < bundles[i]));
    Extent extent = layout.ExtentOf(bundles[i], part);
    extent.offset += ffn.entry->extent.offset;
    wanted_.push_back(extent);
  }
  wave_begin_ = 0;
  wave_end_ = 0;
  arrivals_.clear();
}

Result<std::span<const BundleIndex>> BundleStream::NextWave() {
  GLINT_CHECK(streaming_ && !failed_ && WaveArrived());
  wave_begin_ = wave_end_;
  chunks_.clear();
  chunks_started_ = 0;
  ended_.clear();
  ended_handed_out_ = 0;
  arrivals_.clear();
  if (wave_begin_ == bundles_.size()) return std::span<const BundleIndex>{};

  // Through the page cache a read may begin anywhere, but kernels want rows on kRowAlignment in memory, as they are in
  // the file.
  const auto alignment = std::max(file_->reader().alignment(), static_cast<uint32_t>(kRowAlignment));
  const ReadPlanOptions plan = {.alignment = alignment,
                                .gap_bytes_max = options_.gap_bytes_max,
                                .chunk_bytes_max = options_.chunk_bytes_max,
                                .staging_bytes = staging_.size(),
                                .chunks_max = ChunksMax(bundle_count_max_)};
  const uint32_t planned = PlanReads(std::span(wanted_).subspan(wave_begin_), plan, &chunks_);
  GLINT_CHECK(planned > 0);
  wave_end_ = wave_begin_ + planned;
  for (uint32_t i = wave_begin_; i < wave_end_; ++i) stats_.missed_bundle_bytes += wanted_[i].bytes;
  GLINT_RETURN_IF_ERROR(TopUp());
  return std::span<const BundleIndex>(bundles_).subspan(wave_begin_, planned);
}

Result<std::span<const BundleView>> BundleStream::Arrivals() {
  GLINT_CHECK(streaming_ && !failed_);
  if (WaveArrived()) return std::span<const BundleView>{};
  GLINT_RETURN_IF_ERROR(AwaitChunks());
  GLINT_RETURN_IF_ERROR(TopUp());  // before the checksums, so that the device works meanwhile

  const size_t arrived_before = arrivals_.size();
  const Clock::time_point start = Clock::now();
  uint64_t bytes = 0;
  while (ended_handed_out_ < ended_.size() && bytes < kArrivalBytes) {
    const Chunk& chunk = chunks_[ended_[ended_handed_out_++]];
    for (uint32_t i = 0; i < chunk.count; ++i) GLINT_RETURN_IF_ERROR(HandOut(wave_begin_ + chunk.first + i, chunk));
    bytes += chunk.extent.bytes;
  }
  stats_.verify_ns += NanosecondsSince(start);
  return std::span<const BundleView>(arrivals_).subspan(arrived_before);
}

void BundleStream::End() {
  GLINT_CHECK(streaming_);
  if (file_->reader().in_flight() > 0) file_->reader().Drain();
  streaming_ = false;
}

Status BundleStream::TopUp() {
  FlashReader& reader = file_->reader();
  std::array<FlashRead, kQueueDepthMax> reads;
  const uint32_t room = std::min(reader.queue_depth_max() - reader.in_flight(), kQueueDepthMax);
  uint32_t count = 0;
  for (; count < room && chunks_started_ < chunks_.size(); ++count, ++chunks_started_) {
    const Chunk& chunk = chunks_[chunks_started_];
    GLINT_CHECK(chunk.staging_offset + chunk.extent.bytes <= staging_.size());
    reads[count] = {.offset = chunk.extent.offset,
                    .into = staging_.data() + chunk.staging_offset,
                    .bytes = static_cast<uint32_t>(chunk.extent.bytes),
                    .tag = chunks_started_};
  }
  if (count == 0) return Status::Ok();
  Status status = reader.Submit(std::span(reads).first(count));
  failed_ = !status.ok();
  return status;
}

Status BundleStream::AwaitChunks() {
  const bool in_flight = ended_.size() < chunks_started_;
  if (!in_flight) return Status::Ok();
  const bool ready = ended_handed_out_ < ended_.size();
  std::array<uint32_t, kQueueDepthMax> tags;
  const Clock::time_point start = Clock::now();
  Result<uint32_t> count = file_->reader().Reap(tags, /*wait=*/!ready);
  if (!ready) stats_.stall_ns += NanosecondsSince(start);
  failed_ = !count.ok();
  if (failed_) return count.status();
  for (uint32_t i = 0; i < *count; ++i) {
    GLINT_CHECK(tags[i] < chunks_started_);
    ended_.push_back(tags[i]);
  }
  return Status::Ok();
}

Status BundleStream::HandOut(uint32_t wanted_index, const Chunk& chunk) {
  const BundleIndex bundle = bundles_[wanted_index];
  const Extent wanted = wanted_[wanted_index];
  GLINT_CHECK(chunk.extent.offset <= wanted.offset && wanted.end() <= chunk.extent.end());
  std::byte* bytes = staging_.data() + chunk.staging_offset + (wanted.offset - chunk.extent.offset);

  BundleView view{.bundle = bundle};
  const auto verify = [&](BundlePart granule, uint64_t checksum, std::string_view what) -> Result<const std::byte*> {
    Extent extent = ffn_.entry->layout.ExtentOf(bundle, granule);
    extent.offset += ffn_.entry->extent.offset;
    std::byte* at = bytes + (extent.offset - wanted.offset);
    const Status status = file_->VerifyGranule(extent, {at, static_cast<size_t>(extent.bytes)}, checksum, what);
    if (status.ok()) return at;
    failed_ = true;
    return Status(status.code(), Concat(status.message(), " (bundle ", bundle.value, " of its layer)"));
  };
  if (part_ != BundlePart::kRest) {
    GLINT_ASSIGN_OR_RETURN(view.first,
                           verify(BundlePart::kFirst, ffn_.first_checksums[bundle.value], "first rows of a bundle"));
  }
  if (part_ != BundlePart::kFirst) {
    GLINT_ASSIGN_OR_RETURN(view.rest, verify(BundlePart::kRest, ffn_.rest_checksums[bundle.value], "rest of a bundle"));
  }
  arrivals_.push_back(view);
  return Status::Ok();
}

}  // namespace glint
