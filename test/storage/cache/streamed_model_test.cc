#include "test/storage/cache/streamed_model.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <utility>

#include "glint/base/check.h"
#include "storage/format/model_writer.h"

namespace glint::test {

namespace {

void Check(const Status& status) {
  if (!status.ok()) ADD_FAILURE() << status.message();
  GLINT_CHECK(status.ok());
}

template <typename T>
T ValueOf(Result<T> result) {
  Check(result.status());
  return std::move(result).value();
}

}  // namespace

StreamedModel::StreamedModel(const FfnShape& shape, IoEngineKind io, DirectIo direct) {
  Write(shape);
  Load(ModelFile::Open(path_, {.io = io, .direct = direct, .log = {}}));
}

StreamedModel::StreamedModel(const FfnShape& shape,
                             const std::function<FaultyEngineOptions(const ModelDirectory&)>& options,
                             DirectIo direct) {
  const ModelDirectory directory = Write(shape);
  FlashFile file = ValueOf(FlashFile::Open(path_, direct, {}));
  Load(ModelFile::Create(FlashReader::Create(std::move(file), MakeFaultyEngine(options(directory)), {})));
}

ModelDirectory StreamedModel::Write(const FfnShape& shape) {
  ModelConfig config;
  config.architecture = "opt";
  config.name = "streamed";
  config.layer_count = shape.layer_count;
  config.hidden_size = shape.hidden_size;
  config.embedding_size = shape.hidden_size;
  config.ffn_size = shape.ffn_size;
  config.head_count = 4;
  config.vocab_size = 16;
  config.context_max = 16;
  config.gated = shape.gated;
  path_ = folder_.Path("streamed.glint");
  std::mt19937 random(7);
  const auto fill = [&random](std::span<float> row) {
    for (float& value : row) value = static_cast<float>(random() % 2001) / 1000.0F - 1.0F;
    return Status::Ok();
  };
  ModelWriter writer = ValueOf(ModelWriter::Create(path_, config, WeightType::kF16));
  for (const TensorSpec& spec : TensorSpecs(config)) {
    std::vector<float> values(spec.columns);
    Check(fill(values));
    if (spec.is_vector) {
      Check(writer.WriteVector(spec.name, values));
    } else {
      Check(writer.WriteMatrix(spec.name, WeightType::kF16, spec.rows, spec.columns,
                               [&](uint32_t, std::span<float> row) { return fill(row); }));
    }
  }
  for (uint32_t layer = 0; layer < shape.layer_count; ++layer) {
    Check(writer.WriteFfn(LayerIndex(layer),
                          [&](NeuronId, std::span<float> gate, std::span<float> up, std::span<float> down) {
                            for (const std::span<float> row : {gate, up, down}) Check(fill(row));
                            return Status::Ok();
                          }));
  }
  ModelDirectory directory = ValueOf(writer.Finish());
  bytes_.resize(directory.file_bytes);
  std::ifstream(path_, std::ios::binary)
      .read(reinterpret_cast<char*>(bytes_.data()), static_cast<std::streamsize>(bytes_.size()));
  return directory;
}

void StreamedModel::Load(Result<ModelFile> file) {
  file_.emplace(ValueOf(std::move(file)));
  table_memory_ = AllocateOrDie(ModelTables::BytesNeeded(file_->directory()));
  tables_.emplace(ValueOf(ModelTables::Load(*file_, table_memory_.span())));
  for (const FfnEntry& entry : file_->directory().ffn) {
    layers_.push_back({.entry = &entry,
                       .first_checksums = tables_->Checksums(entry.first_checksums),
                       .rest_checksums = tables_->Checksums(entry.rest_checksums)});
  }
}

Extent StreamedModel::InFile(uint32_t layer, BundleIndex bundle, BundlePart part) const {
  Extent extent = layout(layer).ExtentOf(bundle, part);
  extent.offset += layers_[layer].entry->extent.offset;
  return extent;
}

void StreamedModel::FlipByte(uint64_t offset) {
  const int fd = open(path_.c_str(), O_RDWR | O_CLOEXEC);
  GLINT_CHECK(fd >= 0);
  std::byte byte{};
  GLINT_CHECK(pread(fd, &byte, 1, static_cast<off_t>(offset)) == 1);
  byte ^= std::byte{0xFF};
  GLINT_CHECK(pwrite(fd, &byte, 1, static_cast<off_t>(offset)) == 1 && fsync(fd) == 0 && close(fd) == 0);
}

void StreamedModel::ExpectRows(uint32_t layer, BundlePart part, const BundleView& view) const {
  const uint64_t rows = layout(layer).NeuronsIn(view.bundle) * layout(layer).row_stride();
  const auto expect = [&](const std::byte* got, BundlePart granule, uint64_t bytes) {
    ASSERT_NE(got, nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(got) % kRowAlignment, 0u);
    const std::byte* wanted = bytes_.data() + InFile(layer, view.bundle, granule).offset;
    EXPECT_EQ(std::memcmp(got, wanted, bytes), 0) << "layer " << layer << " bundle " << view.bundle.value;
  };
  if (part == BundlePart::kRest) {
    EXPECT_EQ(view.first, nullptr);
  } else {
    expect(view.first, BundlePart::kFirst, rows);
  }
  if (part == BundlePart::kFirst) {
    EXPECT_EQ(view.rest, nullptr);
  } else {
    expect(view.rest, BundlePart::kRest, layout(layer).gated() ? 2 * rows : rows);
  }
}

std::vector<BundleIndex> RandomBundles(std::mt19937* random, uint32_t count, uint32_t percent) {
  std::vector<BundleIndex> bundles;
  for (uint32_t b = 0; b < count; ++b) {
    if ((*random)() % 100 < percent) bundles.emplace_back(b);
  }
  return bundles;
}

std::vector<BundleIndex> AllBundles(uint32_t count) {
  std::vector<BundleIndex> bundles;
  for (uint32_t b = 0; b < count; ++b) bundles.emplace_back(b);
  return bundles;
}

AlignedBuffer AllocateOrDie(uint64_t bytes) { return ValueOf(AlignedBuffer::Allocate(bytes)); }

namespace {

// The tests of streams stand on these shapes being what their names say.
TEST(StreamedModelTest, ShapesHaveTheBundlesThatTestsWant) {
  const StreamedModel pairs(FfnShape{}, IoEngineKind::kPread);
  EXPECT_EQ(pairs.bundle_count(0), 102u);
  EXPECT_EQ(pairs.layout(0).PartBytes(BundlePart::kFirst), 2048u);
  EXPECT_EQ(pairs.layout(0).PartBytes(BundlePart::kRest), 2048u);
  EXPECT_EQ(pairs.layout(0).NeuronsIn(BundleIndex(101)), 1u);
  const StreamedModel odd(kLongShortRest, IoEngineKind::kPread);
  const BundleIndex last(odd.bundle_count(0) - 1);
  EXPECT_GT(odd.layout(0).ExtentOf(last, BundlePart::kRest).bytes, odd.layout(0).PartBytes(BundlePart::kRest));
}

}  // namespace
}  // namespace glint::test
