#include "storage/format/model_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

#include "glint/base/text.h"
#include "test/support/faulty_engine.h"
#include "test/support/temp_dir.h"
#include "test/support/tiny_model.h"

namespace glint {
namespace {

using ::testing::HasSubstr;

// Opens through an engine without faults: quick to make, and it shuffles the order of arrival.
Result<ModelFile> OpenQuick(const std::string& path, test::FaultyEngineOptions engine = {}) {
  GLINT_ASSIGN_OR_RETURN(FlashFile file, FlashFile::Open(path, DirectIo::kOff, {}));
  return ModelFile::Create(FlashReader::Create(std::move(file), test::MakeFaultyEngine(std::move(engine)), {}));
}

struct Loaded {
  AlignedBuffer table_memory;
  ModelTables tables;
  std::vector<std::byte> tokenizer;
  std::vector<AlignedBuffer> matrices;
  std::vector<AlignedBuffer> ffn;  // whole extents
};

Result<AlignedBuffer> LoadFfn(ModelFile& file, const FfnEntry& entry, const ModelTables& tables) {
  GLINT_ASSIGN_OR_RETURN(AlignedBuffer memory, AlignedBuffer::Allocate(entry.extent.bytes));
  const FlashRead read = {entry.extent.offset, memory.data(), static_cast<uint32_t>(entry.extent.bytes), 0};
  GLINT_RETURN_IF_ERROR(file.reader().ReadAll(std::span(&read, 1)));
  for (BundleIndex b{0}; b.value < entry.layout.bundle_count(); ++b.value) {
    for (const BundlePart part : {BundlePart::kFirst, BundlePart::kRest}) {
      const ArrayRef& ref = part == BundlePart::kFirst ? entry.first_checksums : entry.rest_checksums;
      Extent extent = entry.layout.ExtentOf(b, part);
      const auto bytes = memory.span().subspan(extent.offset, extent.bytes);
      extent.offset += entry.extent.offset;
      GLINT_RETURN_IF_ERROR(file.VerifyGranule(extent, bytes, tables.Checksums(ref)[b.value], "ffn"));
    }
  }
  return memory;
}

Result<Loaded> LoadAll(ModelFile& file) {
  Loaded loaded;
  const ModelDirectory& directory = file.directory();
  GLINT_ASSIGN_OR_RETURN(loaded.table_memory, AlignedBuffer::Allocate(ModelTables::BytesNeeded(directory)));
  GLINT_ASSIGN_OR_RETURN(loaded.tables, ModelTables::Load(file, loaded.table_memory.span()));
  if (directory.tokenizer.extent.bytes != 0) {
    GLINT_ASSIGN_OR_RETURN(AlignedBuffer memory, AlignedBuffer::Allocate(directory.tokenizer.extent.bytes));
    GLINT_RETURN_IF_ERROR(file.LoadSection(directory.tokenizer, "tokenizer section", memory.span()));
    loaded.tokenizer.assign(memory.data(), memory.data() + directory.tokenizer.extent.bytes);
  }
  for (const MatrixEntry& matrix : directory.matrices) {
    GLINT_ASSIGN_OR_RETURN(AlignedBuffer memory, AlignedBuffer::Allocate(matrix.extent.bytes));
    GLINT_RETURN_IF_ERROR(file.LoadMatrix(matrix, loaded.tables.Checksums(matrix.checksums), memory.span()));
    loaded.matrices.push_back(std::move(memory));
  }
  for (const FfnEntry& entry : directory.ffn) {
    GLINT_ASSIGN_OR_RETURN(AlignedBuffer memory, LoadFfn(file, entry, loaded.tables));
    loaded.ffn.push_back(std::move(memory));
  }
  return loaded;
}

class ModelFileTest : public testing::Test {
 protected:
  void Make(const ModelConfig& config, test::TinyModelOptions options) {
    for (size_t i = 0; i < 1000; ++i) tokenizer_.push_back(static_cast<std::byte>(i * 7));
    options.tokenizer = tokenizer_;
    auto written = test::WriteTinyModel(path_, config, options);
    ASSERT_TRUE(written.ok()) << written.status().message();
    directory_ = *written;
    fd_ = open(path_.c_str(), O_RDWR | O_CLOEXEC);
    ASSERT_GE(fd_, 0);
  }
  void TearDown() override {
    if (fd_ >= 0) close(fd_);
  }

  // Returns the error of opening and loading everything; empty where there is none.
  std::string LoadError() {
    auto file = OpenQuick(path_);
    if (!file.ok()) return file.status().message();
    return LoadAll(*file).status().message();
  }

  void Flip(uint64_t offset, int mask = 0x10) {
    unsigned char byte = 0;
    ASSERT_EQ(pread(fd_, &byte, 1, static_cast<off_t>(offset)), 1);
    byte = static_cast<unsigned char>(byte ^ mask);
    ASSERT_EQ(pwrite(fd_, &byte, 1, static_cast<off_t>(offset)), 1);
  }

  void ExpectEveryFlipRefused(const Extent& extent) {
    for (uint64_t offset = extent.offset; offset < extent.end(); ++offset) {
      Flip(offset);
      const std::string error = LoadError();
      ASSERT_THAT(error, HasSubstr("tiny.glint")) << offset;
      ASSERT_THAT(error, HasSubstr("wanted")) << offset;
      ASSERT_EQ(error.find('\n'), std::string::npos) << offset;
      Flip(offset);
    }
    EXPECT_EQ(LoadError(), "");
  }

  // The row as stored.
  std::vector<std::byte> EncodedRow(const test::TinyModelOptions& options, const std::string& name, uint32_t row_index,
                                    uint32_t columns) {
    std::vector<float> values(columns);
    test::TinyModelRow(directory_.config, options, name, row_index, values);
    std::vector<std::byte> row(RowStride(options.type, columns));
    GLINT_CHECK(EncodeRow(options.type, values, row).ok());
    return row;
  }

  test::TempDir folder_;
  const std::string path_ = folder_.Path("tiny.glint");
  std::vector<std::byte> tokenizer_;
  ModelDirectory directory_;
  int fd_ = -1;
};

class ModelFileRoundTripTest : public ModelFileTest,
                               public testing::WithParamInterface<std::tuple<WeightType, bool, bool>> {};

TEST_P(ModelFileRoundTripTest, EverythingComesBackAsItWasWritten) {
  const auto [type, gated, projected] = GetParam();
  ModelConfig config = test::TinyModelConfig();
  config.hidden_size = 80;  // rows with padding in every type
  config.head_count = 5;
  config.embedding_size = projected ? 36 : 80;
  config.tied_output = !projected;
  config.ffn_size = 101;     // a short last bundle
  config.vocab_size = 3000;  // more than one granule
  config.gated = gated;
  const test::TinyModelOptions options = {.type = type};
  Make(config, options);
  for (const IoEngineKind io : {IoEngineKind::kAuto, IoEngineKind::kPread}) {
    auto file = ModelFile::Open(path_, {.io = io});
    ASSERT_TRUE(file.ok()) << file.status().message();
    auto loaded = LoadAll(*file);
    ASSERT_TRUE(loaded.ok()) << loaded.status().message();
    EXPECT_EQ(loaded->tokenizer, tokenizer_);
    size_t matrix_count = 0;
    for (const TensorSpec& spec : TensorSpecs(config)) {
      if (spec.is_vector) {
        std::vector<float> values(spec.columns);
        test::TinyModelRow(config, options, spec.name, 0, values);
        EXPECT_THAT(loaded->tables.Vector(file->directory(), spec.name), testing::ElementsAreArray(values));
        continue;
      }
      ++matrix_count;
      const MatrixEntry* entry = file->directory().FindMatrix(spec.name);
      ASSERT_NE(entry, nullptr) << spec.name;
      const auto bytes = loaded->matrices[static_cast<size_t>(entry - file->directory().matrices.data())].span();
      const uint64_t stride = RowStride(type, spec.columns);
      for (uint32_t row = 0; row < spec.rows; ++row) {
        const auto wanted = EncodedRow(options, spec.name, row, spec.columns);
        ASSERT_EQ(std::memcmp(bytes.data() + row * stride, wanted.data(), stride), 0) << spec.name << " " << row;
      }
    }
    EXPECT_EQ(matrix_count, file->directory().matrices.size());
    for (uint32_t layer = 0; layer < config.layer_count; ++layer) {
      const BundleLayout& layout = file->directory().ffn[layer].layout;
      const std::string block = Concat("blk.", layer, ".ffn_");
      for (NeuronId neuron{0}; neuron.value < config.ffn_size; ++neuron.value) {
        const BundleIndex bundle = layout.BundleOf(neuron);
        const uint32_t lane = neuron.value - layout.FirstNeuron(bundle).value;
        const std::byte* first = loaded->ffn[layer].data() + layout.ExtentOf(bundle, BundlePart::kFirst).offset;
        const std::byte* rest = loaded->ffn[layer].data() + layout.ExtentOf(bundle, BundlePart::kRest).offset;
        const auto expect = [&](const char* role, const std::byte* row) {
          const auto wanted = EncodedRow(options, block + role, neuron.value, config.hidden_size);
          ASSERT_EQ(std::memcmp(row, wanted.data(), wanted.size()), 0) << role << " " << neuron.value;
        };
        if (gated) expect("gate.weight", first + layout.FirstRowOffset(lane));
        expect("up.weight", gated ? rest + layout.UpRowOffsetInRest(lane) : first + layout.FirstRowOffset(lane));
        expect("down.weight", rest + layout.DownRowOffsetInRest(bundle, lane));
      }
    }
  }
  auto report = VerifyModelFile(path_, {}, {});
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_THAT(report->faults, testing::IsEmpty());
  EXPECT_EQ(report->bytes_verified, directory_.file_bytes);
}

INSTANTIATE_TEST_SUITE_P(All, ModelFileRoundTripTest,
                         testing::Combine(testing::Values(WeightType::kF32, WeightType::kF16, WeightType::kQ8_0,
                                                          WeightType::kQ4_0),
                                          testing::Bool(), testing::Bool()));

TEST_F(ModelFileTest, ModelWithoutVectorsOrTokenizerIsWhole) {
  ASSERT_TRUE(test::WriteTinyModel(path_, test::TinyModelConfig(), {.vectors = false}).ok());
  auto file = OpenQuick(path_);
  ASSERT_TRUE(file.ok()) << file.status().message();
  auto loaded = LoadAll(*file);
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  EXPECT_TRUE(loaded->tables.Vector(file->directory(), "blk.0.attn_q.bias").empty());
}

TEST_F(ModelFileTest, SliceOfAnotherFileIsReadAsTheWhole) {
  Make(test::TinyModelConfig(), {});
  std::ifstream model(path_, std::ios::binary);
  const std::string bytes(std::istreambuf_iterator<char>(model), {});
  const std::string package = folder_.Path("package");
  std::ofstream(package, std::ios::binary) << std::string(1234, 'p') << bytes << "tail";
  const int fd = open(package.c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  auto file = ModelFile::OpenFd(fd, 1234, bytes.size(), {});
  close(fd);
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(file->directory(), directory_);
  EXPECT_EQ(LoadAll(*file).status().message(), "");
}

TEST_F(ModelFileTest, EveryFlippedByteOfHeaderAndDirectoryIsRefused) {
  ModelConfig config = test::TinyModelConfig();
  config.layer_count = 1;
  Make(config, {});
  ExpectEveryFlipRefused({0, kHeaderBytes});
  auto file = OpenQuick(path_);
  ASSERT_TRUE(file.ok());
  ExpectEveryFlipRefused(file->directory_extent());
}

TEST_F(ModelFileTest, EveryFlippedByteOfTablesAndTokenizerIsRefused) {
  ModelConfig config = test::TinyModelConfig();
  config.layer_count = 1;
  Make(config, {});
  for (const Section& table : directory_.tables) ExpectEveryFlipRefused(table.extent);
  ExpectEveryFlipRefused(directory_.tokenizer.extent);
}

TEST_F(ModelFileTest, AThousandFlippedBytesAnywhereAreTold) {
  Make(test::TinyModelConfig(), {});
  std::mt19937_64 random(3);
  size_t refused = 0;
  for (int i = 0; i < 1000; ++i) {
    const uint64_t offset = random() % directory_.file_bytes;
    Flip(offset, 0x80);
    if (!LoadError().empty()) ++refused;
    const auto report = VerifyModelFile(path_, {.io = IoEngineKind::kPread, .direct = DirectIo::kOff}, {});
    ASSERT_TRUE(!report.ok() || !report->faults.empty()) << offset;
    Flip(offset, 0x80);
  }
  EXPECT_GT(refused, 100U);
  EXPECT_EQ(LoadError(), "");
}

TEST_F(ModelFileTest, VerifyTellsEveryFaultByNameAndGoesOn) {
  Make(test::TinyModelConfig(), {});
  const MatrixEntry& matrix = *directory_.FindMatrix("blk.1.attn_k.weight");
  const FfnEntry& ffn = directory_.ffn[0];
  Flip(matrix.extent.offset + 100);
  Flip(ffn.extent.offset + ffn.layout.ExtentOf(BundleIndex(1), BundlePart::kRest).offset + 1);
  Flip(directory_.tokenizer.extent.end() - 1);
  Flip(directory_.tokenizer.extent.end());  // padding
  Flip(directory_.file_bytes - 1);          // padding of the directory
  Flip(kHeaderBytes);                       // padding of the header
  uint64_t done_bytes = 0;
  uint64_t total_bytes = 0;
  const auto report = VerifyModelFile(path_, {}, [&](uint64_t done, uint64_t total) {
    EXPECT_GE(done, done_bytes);
    done_bytes = done;
    total_bytes = total;
  });
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(done_bytes, directory_.file_bytes);
  EXPECT_EQ(total_bytes, directory_.file_bytes);
  EXPECT_THAT(report->faults,
              testing::UnorderedElementsAre(
                  HasSubstr(Concat("blk.1.attn_k.weight at offset ", matrix.extent.offset)),
                  HasSubstr("blk.0.ffn bundle 1 (rest granule)"), HasSubstr("tokenizer section"),
                  HasSubstr(Concat("padding at offset ", directory_.tokenizer.extent.end(), ": wanted 0, got 16")),
                  HasSubstr(Concat("padding at offset ", directory_.file_bytes - 1)),
                  HasSubstr(Concat("padding at offset ", kHeaderBytes))));
}

TEST_F(ModelFileTest, VerifySaysWhatACorruptTableLeavesUnverified) {
  Make(test::TinyModelConfig(), {});
  Flip(directory_.tables[2].extent.offset);
  const auto report = VerifyModelFile(path_, {}, {});
  ASSERT_TRUE(report.ok());
  EXPECT_THAT(report->faults, testing::Contains(HasSubstr("table 2 at offset")));
  EXPECT_THAT(report->faults, testing::Contains(HasSubstr("blk.1.ffn at offset")));
  EXPECT_THAT(report->faults, testing::SizeIs(6));  // the table, four matrices, the FFN
}

TEST_F(ModelFileTest, VerifyNamesAHundredFaultsAndCountsTheRest) {
  ModelConfig config = test::TinyModelConfig();
  config.ffn_size = 4096;
  Make(config, {});
  const FfnEntry& ffn = directory_.ffn[0];
  for (uint32_t b = 0; b < 120; ++b) {
    Flip(ffn.extent.offset + ffn.layout.ExtentOf(BundleIndex(b), BundlePart::kFirst).offset);
  }
  const auto report = VerifyModelFile(path_, {}, {});
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->faults.size(), 101U);
  EXPECT_EQ(report->faults.back(), "and 20 more");
}

TEST_F(ModelFileTest, TruncationAnywhereIsRefused) {
  Make(test::TinyModelConfig(), {});
  std::vector<uint64_t> ends = {
      1, 8, kHeaderBytes, directory_.file_bytes, directory_.tokenizer.extent.offset, directory_.tokenizer.extent.end()};
  const auto add = [&](const Extent& extent) { ends.insert(ends.end(), {extent.offset, extent.end()}); };
  for (const Section& table : directory_.tables) add(table.extent);
  for (const MatrixEntry& matrix : directory_.matrices) add(matrix.extent);
  for (const FfnEntry& ffn : directory_.ffn) add(ffn.extent);
  for (const uint64_t end : ends) {
    for (const uint64_t bytes : {end + 1, end, end - 1}) {
      if (bytes == directory_.file_bytes) continue;
      const std::string copy = folder_.Path("copy.glint");
      std::filesystem::copy_file(path_, copy, std::filesystem::copy_options::overwrite_existing);
      std::filesystem::resize_file(copy, bytes);
      const auto file = OpenQuick(copy);
      ASSERT_FALSE(file.ok()) << bytes;
      EXPECT_THAT(file.status().message(), HasSubstr("copy.glint"));
      EXPECT_THAT(file.status().message(), HasSubstr(bytes < 8                       ? "not a glint model file"
                                                     : bytes > directory_.file_bytes ? "too long"
                                                                                     : "truncated: wanted"));
    }
  }
}

TEST_F(ModelFileTest, GranulesThatAreSwappedAreCaught) {
  Make(test::TinyModelConfig(), {});
  const FfnEntry& ffn = directory_.ffn[1];
  const Extent a = ffn.layout.ExtentOf(BundleIndex(0), BundlePart::kWhole);
  const Extent b = ffn.layout.ExtentOf(BundleIndex(1), BundlePart::kWhole);
  std::vector<char> first(a.bytes);
  std::vector<char> second(b.bytes);
  const auto at = [&](const Extent& extent) { return static_cast<off_t>(ffn.extent.offset + extent.offset); };
  ASSERT_EQ(a.bytes, b.bytes);
  ASSERT_EQ(pread(fd_, first.data(), a.bytes, at(a)), static_cast<ssize_t>(a.bytes));
  ASSERT_EQ(pread(fd_, second.data(), b.bytes, at(b)), static_cast<ssize_t>(b.bytes));
  ASSERT_EQ(pwrite(fd_, second.data(), b.bytes, at(a)), static_cast<ssize_t>(b.bytes));
  ASSERT_EQ(pwrite(fd_, first.data(), a.bytes, at(b)), static_cast<ssize_t>(a.bytes));
  EXPECT_THAT(LoadError(), HasSubstr("wanted checksum"));
  const auto report = VerifyModelFile(path_, {}, {});
  ASSERT_TRUE(report.ok());
  EXPECT_THAT(report->faults, testing::SizeIs(4));
}

TEST_F(ModelFileTest, ForeignFilesAreRefused) {
  for (const std::string& bytes : {std::string(), std::string("x"), std::string("GGUF\3\0\0\0", 8)}) {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << bytes;
    EXPECT_THAT(LoadError(), HasSubstr("not a glint model file")) << bytes.size();
  }
  EXPECT_FALSE(OpenQuick(folder_.Path("none.glint")).ok());
  EXPECT_FALSE(OpenQuick(folder_.path()).ok());
}

TEST_F(ModelFileTest, CorruptionOnTheWayIsHealedByASecondLook) {
  ModelConfig config = test::TinyModelConfig();
  config.vocab_size = 5000;
  Make(config, {});
  const MatrixEntry& matrix = *directory_.FindMatrix("token_embd.weight");
  ASSERT_GT(matrix.checksums.count, 2U);
  test::FaultyEngineOptions engine;
  engine.faults.push_back({.kind = test::Fault::Kind::kCorrupt, .offset = matrix.extent.offset + kGranuleBytesMax + 5});
  auto file = OpenQuick(path_, engine);
  ASSERT_TRUE(file.ok());
  auto loaded = LoadAll(*file);
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  std::vector<char> wanted(matrix.extent.bytes);
  ASSERT_EQ(pread(fd_, wanted.data(), wanted.size(), static_cast<off_t>(matrix.extent.offset)),
            static_cast<ssize_t>(wanted.size()));
  const size_t index = static_cast<size_t>(directory_.FindMatrix("token_embd.weight") - directory_.matrices.data());
  EXPECT_EQ(std::memcmp(loaded->matrices[index].data(), wanted.data(), wanted.size()), 0);
}

TEST_F(ModelFileTest, LoadsUnderShortReadsAndRetries) {
  ModelConfig config = test::TinyModelConfig();
  config.vocab_size = 20000;
  Make(config, {});
  for (const uint64_t seed : {1U, 2U, 3U}) {
    auto file = OpenQuick(path_, {.seed = seed, .queue_depth_max = 3, .short_read = 0.3, .again = 0.2});
    ASSERT_TRUE(file.ok());
    EXPECT_EQ(LoadAll(*file).status().message(), "");
  }
}

TEST_F(ModelFileTest, FailedReadEndsTheLoadWithNothingInFlight) {
  ModelConfig config = test::TinyModelConfig();
  config.vocab_size = 20000;
  Make(config, {});
  const MatrixEntry& matrix = *directory_.FindMatrix("token_embd.weight");
  test::FaultyEngineOptions engine;
  engine.faults.push_back({.kind = test::Fault::Kind::kError, .offset = matrix.extent.offset + 3 * kGranuleBytesMax});
  auto file = OpenQuick(path_, engine);
  ASSERT_TRUE(file.ok());
  const auto loaded = LoadAll(*file);
  ASSERT_FALSE(loaded.ok());
  EXPECT_EQ(loaded.status().code(), StatusCode::kIoError);
  EXPECT_EQ(file->reader().in_flight(), 0U);
}

}  // namespace
}  // namespace glint
