// A tiny model file, opened, and what its bundles hold according to the file itself.
#ifndef GLINT_TEST_STORAGE_CACHE_STREAMED_MODEL_H_
#define GLINT_TEST_STORAGE_CACHE_STREAMED_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "storage/cache/bundle_stream.h"
#include "storage/flash/aligned_buffer.h"
#include "storage/format/model_file.h"
#include "test/support/faulty_engine.h"
#include "test/support/temp_dir.h"

namespace glint::test {

// In f16: two neurons are a bundle of 4 KiB, two granules of 2 KiB each, and the last bundle is short.
struct FfnShape {
  uint32_t layer_count = 2;
  uint32_t hidden_size = 512;
  uint32_t ffn_size = 203;
  bool gated = false;
};

// A cluster of 19 neurons, and a last one of 13 whose rest has more bytes, padding included, than a full one's.
inline constexpr FfnShape kLongShortRest = {.hidden_size = 160, .ffn_size = 203};
inline constexpr FfnShape kGated = {.gated = true};

// Non-copyable; spans point into it.
class StreamedModel {
 public:
  // A model file in its own folder, opened with a real engine.
  StreamedModel(const FfnShape& shape, IoEngineKind io, DirectIo direct = DirectIo::kAuto);
  // The same through a faulty engine. `options` sees the directory, so that faults can be put on a bundle.
  StreamedModel(const FfnShape& shape, const std::function<FaultyEngineOptions(const ModelDirectory&)>& options,
                DirectIo direct = DirectIo::kAuto);
  StreamedModel(const StreamedModel&) = delete;
  StreamedModel& operator=(const StreamedModel&) = delete;

  ModelFile& file() { return *file_; }
  const std::vector<FfnOnFlash>& layers() const { return layers_; }
  const BundleLayout& layout(uint32_t layer) const { return layers_[layer].entry->layout; }
  uint32_t bundle_count(uint32_t layer) const { return layout(layer).bundle_count(); }
  uint64_t staging_bytes_min() const { return BundleStream::StagingBytesMin(layout(0)); }

  // Where a part of a bundle lies in the file.
  Extent InFile(uint32_t layer, BundleIndex bundle, BundlePart part) const;
  // Flips all bits of one byte of the file, behind the reader's back; again: puts it right.
  void FlipByte(uint64_t offset);
  // Checks that `view` shows exactly the rows of `part` as the file has them, and nothing of another part.
  void ExpectRows(uint32_t layer, BundlePart part, const BundleView& view) const;

 private:
  ModelDirectory Write(const FfnShape& shape);
  void Load(Result<ModelFile> file);

  TempDir folder_;
  std::string path_;
  std::vector<std::byte> bytes_;  // the file as it was written
  std::optional<ModelFile> file_;
  AlignedBuffer table_memory_;
  std::optional<ModelTables> tables_;
  std::vector<FfnOnFlash> layers_;
};

// Each of [0, count) with a probability of `percent`.
std::vector<BundleIndex> RandomBundles(std::mt19937* random, uint32_t count, uint32_t percent);
std::vector<BundleIndex> AllBundles(uint32_t count);
AlignedBuffer AllocateOrDie(uint64_t bytes);

}  // namespace glint::test

#endif  // GLINT_TEST_STORAGE_CACHE_STREAMED_MODEL_H_
