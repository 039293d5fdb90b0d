#include "storage/checkpoint/opt_packer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <limits>

#include "storage/checkpoint/safetensors.h"
#include "storage/checkpoint/tensor_reader.h"
#include "storage/flash/aligned_buffer.h"
#include "test/storage/checkpoint/checkpoint_maker.h"
#include "test/support/temp_dir.h"

namespace glint {
namespace {

using test::ReadText;
using test::TempDir;
using test::TinyOpt;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr WeightType kPackTypes[] = {WeightType::kF16, WeightType::kQ8_0, WeightType::kQ4_0};

std::string TalesOpt() { return std::string(GLINT_TEST_DATA) + "/models/tales-opt"; }

// A packed model, read back piece by piece.
class Packed {
 public:
  explicit Packed(const std::string& path) : bytes_(ReadText(path)) {
    Result<ModelFile> file = ModelFile::Open(path, {});
    EXPECT_TRUE(file.ok()) << file.status().message();
    directory_ = file->directory();
    memory_ = AlignedBuffer::Allocate(ModelTables::BytesNeeded(directory_)).value();
    Result<ModelTables> tables = ModelTables::Load(*file, memory_.span());
    EXPECT_TRUE(tables.ok()) << tables.status().message();
    tables_ = std::move(tables).value();
  }

  const ModelDirectory& directory() const { return directory_; }
  std::vector<float> Vector(const std::string& name) const {
    const std::span<const float> values = tables_.Vector(directory_, name);
    return {values.begin(), values.end()};
  }
  // REQUIRES: there is a matrix of that name.
  std::vector<float> Row(const std::string& name, uint32_t row) const {
    const MatrixEntry& matrix = *directory_.FindMatrix(name);
    return Decode(matrix.type, matrix.extent.offset + row * RowStride(matrix.type, matrix.columns), matrix.columns);
  }
  std::vector<float> Up(uint32_t layer, uint32_t neuron) const {
    const BundleLayout& layout = directory_.ffn[layer].layout;
    const BundleIndex bundle = layout.BundleOf(NeuronId(neuron));
    const uint32_t lane = neuron - layout.FirstNeuron(bundle).value;
    const uint64_t granule = layout.ExtentOf(bundle, BundlePart::kFirst).offset;
    return Decode(layout.type(), directory_.ffn[layer].extent.offset + granule + layout.FirstRowOffset(lane),
                  layout.hidden_size());
  }
  std::vector<float> Down(uint32_t layer, uint32_t neuron) const {
    const BundleLayout& layout = directory_.ffn[layer].layout;
    const BundleIndex bundle = layout.BundleOf(NeuronId(neuron));
    const uint32_t lane = neuron - layout.FirstNeuron(bundle).value;
    const uint64_t granule = layout.ExtentOf(bundle, BundlePart::kRest).offset;
    return Decode(layout.type(),
                  directory_.ffn[layer].extent.offset + granule + layout.DownRowOffsetInRest(bundle, lane),
                  layout.hidden_size());
  }

 private:
  std::vector<float> Decode(WeightType type, uint64_t offset, uint32_t columns) const {
    std::vector<float> values(columns);
    DecodeRow(type, std::as_bytes(std::span(bytes_)).subspan(offset, RowStride(type, columns)), values);
    return values;
  }

  std::string bytes_;
  ModelDirectory directory_;
  AlignedBuffer memory_;
  ModelTables tables_;
};

// What a row becomes by being stored as `type`.
std::vector<float> Stored(WeightType type, const std::vector<float>& values) {
  std::vector<std::byte> row(RowStride(type, values.size()));
  EXPECT_TRUE(EncodeRow(type, values, row).ok());
  std::vector<float> decoded(values.size());
  DecodeRow(type, row, decoded);
  return decoded;
}

class SourceModel {
 public:
  explicit SourceModel(const std::string& folder) : checkpoint_(Safetensors::Open(folder).value()) {}
  std::vector<float> Row(const std::string& name, uint64_t row) const {
    const TensorInfo* tensor = checkpoint_.Find(name);
    std::vector<float> values(tensor->shape.back());
    EXPECT_TRUE(RowReader(&checkpoint_, tensor).Read(row, values).ok());
    return values;
  }
  std::vector<float> Column(const std::string& name, uint64_t column) const {
    const TensorInfo* tensor = checkpoint_.Find(name);
    std::vector<float> values(tensor->shape[0]);
    std::vector<float> whole_row(tensor->shape[1]);
    RowReader reader(&checkpoint_, tensor);
    for (uint64_t row = 0; row < tensor->shape[0]; ++row) {
      EXPECT_TRUE(reader.Read(row, whole_row).ok());
      values[row] = whole_row[column];
    }
    return values;
  }

 private:
  Safetensors checkpoint_;
};

Status Verify(const std::string& path) {
  Result<VerifyReport> report = VerifyModelFile(path, {}, {});
  if (!report.ok()) return report.status();
  return report->faults.empty() ? Status::Ok() : CorruptData(report->faults[0]);
}

TEST(OptPackerTest, TalesOptHoldsTheSourcesValuesAtEveryType) {
  const SourceModel source(TalesOpt());
  TempDir folder;
  for (const WeightType type : kPackTypes) {
    const std::string path = folder.Path("tales.glint");
    uint64_t done = 0;
    uint64_t total = 0;
    PackOptions options;
    options.type = type;
    options.progress = [&](uint64_t now, uint64_t all) {
      EXPECT_GT(now, done);
      done = now;
      total = all;
    };
    std::vector<std::string> notices;
    options.log = [&](std::string_view line) { notices.emplace_back(line); };
    Result<ModelDirectory> written = PackOpt(TalesOpt(), path, options);
    ASSERT_TRUE(written.ok()) << written.status().message();
    EXPECT_EQ(done, total);
    EXPECT_EQ(total, 7498752U * 2);
    EXPECT_THAT(notices, IsEmpty());
    EXPECT_TRUE(Verify(path).ok()) << Verify(path).message();

    const Packed packed(path);
    EXPECT_EQ(packed.directory().hash, written->hash);
    EXPECT_EQ(packed.directory().type, type);
    EXPECT_EQ(packed.directory().config.name, "tales-opt");
    const WeightType embedding = TypeOf("token_embd.weight", type);
    for (const uint32_t row : {0U, 1U, 777U, 4095U}) {
      EXPECT_EQ(packed.Row("token_embd.weight", row),
                Stored(embedding, source.Row("model.decoder.embed_tokens.weight", row)));
    }
    for (const uint32_t row : {0U, 2U, 513U}) {
      EXPECT_EQ(packed.Row("position_embd.weight", row), source.Row("model.decoder.embed_positions.weight", row));
    }
    EXPECT_EQ(packed.Vector("output_norm.weight"), source.Row("model.decoder.final_layer_norm.weight", 0));
    EXPECT_EQ(packed.Vector("output_norm.bias"), source.Row("model.decoder.final_layer_norm.bias", 0));
    const std::pair<const char*, const char*> roles[] = {{"attn_q", "self_attn.q_proj"},
                                                         {"attn_k", "self_attn.k_proj"},
                                                         {"attn_v", "self_attn.v_proj"},
                                                         {"attn_output", "self_attn.out_proj"}};
    const std::pair<const char*, const char*> vectors[] = {{"attn_norm.weight", "self_attn_layer_norm.weight"},
                                                           {"attn_norm.bias", "self_attn_layer_norm.bias"},
                                                           {"ffn_norm.weight", "final_layer_norm.weight"},
                                                           {"ffn_norm.bias", "final_layer_norm.bias"},
                                                           {"ffn_up.bias", "fc1.bias"},
                                                           {"ffn_down.bias", "fc2.bias"}};
    for (const uint32_t layer : {0U, 5U, 7U}) {
      const std::string ours = Concat("blk.", layer, ".");
      const std::string theirs = Concat("model.decoder.layers.", layer, ".");
      for (const auto& [our_role, their_role] : roles) {
        for (const uint32_t row : {0U, 100U, 255U}) {
          EXPECT_EQ(packed.Row(ours + our_role + ".weight", row),
                    Stored(type, source.Row(theirs + their_role + ".weight", row)));
        }
        EXPECT_EQ(packed.Vector(ours + our_role + ".bias"), source.Row(theirs + their_role + ".bias", 0));
      }
      for (const auto& [our_name, their_name] : vectors) {
        EXPECT_EQ(packed.Vector(ours + our_name), source.Row(theirs + their_name, 0)) << our_name;
      }
      for (const uint32_t neuron : {0U, 1U, 3U, 31U, 32U, 500U, 1023U}) {
        EXPECT_EQ(packed.Up(layer, neuron), Stored(type, source.Row(theirs + "fc1.weight", neuron)));
        EXPECT_EQ(packed.Down(layer, neuron), Stored(type, source.Column(theirs + "fc2.weight", neuron)));
      }
    }
  }
}

class TinyOptTest : public ::testing::Test {
 protected:
  // Packs what was written to `source_`.
  Status Pack(WeightType type = WeightType::kF16) {
    PackOptions options;
    options.type = type;
    options.log = [this](std::string_view line) { notices_ += std::string(line) + "\n"; };
    return PackOpt(source_.path(), Out(), options).status();
  }
  std::string Out() const { return out_.Path("m.glint"); }
  // Packing must fail like this, and leave nothing behind.
  void ExpectRefusal(StatusCode code, const std::vector<std::string>& says) {
    const Status status = Pack();
    EXPECT_EQ(status.code(), code) << status.message();
    for (const std::string& text : says) EXPECT_THAT(status.message(), HasSubstr(text));
    EXPECT_TRUE(std::filesystem::is_empty(out_.path()));
  }

  TempDir source_;
  TempDir out_;
  std::string notices_;
};

TEST_F(TinyOptTest, PrefixShardsAndElementTypeDoNotChangeTheFile) {
  // Values that every element type holds.
  const auto make = [](const std::string& prefix) {
    TinyOpt model(prefix);
    for (auto& tensor : model.tensors) {
      for (float& value : tensor.values) value = Bfloat16ToFloat(test::ToBfloat16(HalfToFloat(FloatToHalf(value))));
    }
    return model;
  };
  make("model.decoder.").Write(source_.path());
  ASSERT_TRUE(Pack().ok()) << Pack().message();
  EXPECT_EQ(notices_, "");
  const std::string wanted = ReadText(Out());
  EXPECT_TRUE(Verify(Out()).ok());
  for (const char* type : {"F32", "BF16"}) {
    make("decoder.").Write(source_.path(), type);
    ASSERT_TRUE(Pack().ok());
    EXPECT_TRUE(ReadText(Out()) == wanted) << type;
  }
  std::filesystem::remove(source_.Path("model.safetensors"));
  make("").WriteSharded(source_.path());
  ASSERT_TRUE(Pack().ok()) << Pack().message();
  EXPECT_TRUE(ReadText(Out()) == wanted);
}

TEST_F(TinyOptTest, ProjectedEmbeddingsAndNormAfterArePacked) {
  TinyOpt model("model.decoder.", /*embedding=*/16);
  model.Write(source_.path());
  ASSERT_TRUE(Pack().ok()) << Pack().message();
  const Packed packed(Out());
  EXPECT_FALSE(packed.directory().config.norm_before);
  EXPECT_EQ(packed.Vector("output_norm.weight"), std::vector<float>());
  const auto row_of = [&model](const std::string& name, size_t row) {
    const auto& tensor = model.Get(name);
    const auto begin = tensor.values.begin() + static_cast<std::ptrdiff_t>(row * tensor.shape[1]);
    return Stored(WeightType::kF16, {begin, begin + static_cast<std::ptrdiff_t>(tensor.shape[1])});
  };
  EXPECT_EQ(packed.Row("token_embd.weight", 3), row_of("model.decoder.embed_tokens.weight", 3));
  EXPECT_EQ(packed.Row("token_embd_proj_in.weight", 23), row_of("model.decoder.project_in.weight", 23));
  EXPECT_EQ(packed.Row("token_embd_proj_out.weight", 15), row_of("model.decoder.project_out.weight", 15));
}

TEST_F(TinyOptTest, BiasesAndNormParametersMayBeAbsent) {
  TinyOpt model;
  model.config.insert(1, R"("enable_bias":false,"layer_norm_elementwise_affine":false,)");
  std::erase_if(model.tensors, [](const test::MadeTensor& tensor) {
    return tensor.name.ends_with(".bias") || tensor.name.find("norm") != std::string::npos;
  });
  model.Write(source_.path());
  ASSERT_TRUE(Pack().ok()) << Pack().message();
  EXPECT_TRUE(Packed(Out()).directory().vectors.empty());
}

TEST_F(TinyOptTest, OutputMatrixIsUsedOnlyWhereItIsNotTied) {
  TinyOpt model;
  model.Add("lm_head.weight", {TinyOpt::kVocab, TinyOpt::kHidden});
  model.Write(source_.path());
  ASSERT_TRUE(Pack().ok());
  EXPECT_EQ(notices_, "");
  EXPECT_EQ(Packed(Out()).directory().FindMatrix("output.weight"), nullptr);

  model.config.insert(1, R"("tie_word_embeddings":false,)");
  model.Write(source_.path());
  ASSERT_TRUE(Pack().ok()) << Pack().message();
  const std::vector<float> values = model.Get("lm_head.weight").values;
  EXPECT_EQ(Packed(Out()).Row("output.weight", 0),
            Stored(WeightType::kF16, {values.begin(), values.begin() + TinyOpt::kHidden}));
}

TEST_F(TinyOptTest, UntiedModelWithoutOutputMatrixIsRefused) {
  TinyOpt model;
  model.config.insert(1, R"("tie_word_embeddings":false,)");
  model.Write(source_.path());
  ExpectRefusal(StatusCode::kNotFound, {"lm_head.weight", "missing"});
}

TEST_F(TinyOptTest, UnusedTensorsAreNamed) {
  TinyOpt model;
  model.Add("model.decoder.surprise", {3});
  model.Write(source_.path());
  ASSERT_TRUE(Pack().ok());
  EXPECT_THAT(notices_, AllOf(HasSubstr("1 tensor is not used"), HasSubstr("'model.decoder.surprise'")));
}

TEST_F(TinyOptTest, EveryMissingTensorIsNamed) {
  const TinyOpt whole;
  for (const test::MadeTensor& tensor : whole.tensors) {
    TinyOpt model;
    model.Remove(tensor.name);
    model.Write(source_.path());
    ExpectRefusal(StatusCode::kNotFound, {tensor.name, "missing"});
  }
}

TEST_F(TinyOptTest, WrongShapeIsRefused) {
  TinyOpt model;
  std::swap(model.Get("model.decoder.layers.1.fc2.weight").shape[0],
            model.Get("model.decoder.layers.1.fc2.weight").shape[1]);
  model.Write(source_.path());
  ExpectRefusal(StatusCode::kCorruptData,
                {"model.safetensors", "model.decoder.layers.1.fc2.weight", "[24, 40]", "[40, 24]"});
}

TEST_F(TinyOptTest, NanAndInfinityAreRefusedWithTensorAndIndex) {
  const struct {
    const char* tensor;
    size_t element;
    const char* index;
  } cases[] = {{"model.decoder.layers.0.fc2.weight", 3 * 40 + 39, "[3, 39]"},
               {"model.decoder.layers.1.fc1.weight", 39 * 24 + 1, "[39, 1]"},
               {"model.decoder.layers.1.fc1.bias", 17, "[17]"},
               {"model.decoder.embed_positions.weight", 0, "[0, 0]"}};
  for (const auto& c : cases) {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      TinyOpt model;
      model.Get(c.tensor).values[c.element] = bad;
      model.Write(source_.path());
      ExpectRefusal(StatusCode::kCorruptData, {c.tensor, c.index});
    }
  }
}

TEST_F(TinyOptTest, ValueBeyondHalfIsRefused) {
  TinyOpt model;
  model.Get("model.decoder.layers.0.self_attn.k_proj.weight").values[24 + 5] = 1e6F;
  model.Write(source_.path(), "F32");
  ExpectRefusal(StatusCode::kInvalidArgument, {"blk.0.attn_k.weight", "1e+06", "f16"});
}

TEST_F(TinyOptTest, FailureLeavesTheFileThatWasThere) {
  TinyOpt model;
  model.Write(source_.path());
  ASSERT_TRUE(Pack().ok());
  const std::string before = ReadText(Out());
  model.Get("model.decoder.layers.1.fc2.weight").values.back() = std::numeric_limits<float>::infinity();
  model.Write(source_.path());
  EXPECT_EQ(Pack().code(), StatusCode::kCorruptData);
  EXPECT_TRUE(ReadText(Out()) == before);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(out_.path()), {}), 1);
}

TEST_F(TinyOptTest, CancelledPackingLeavesNothing) {
  TinyOpt().Write(source_.path());
  const std::atomic<bool> cancel = true;
  PackOptions options;
  options.cancel = &cancel;
  EXPECT_EQ(PackOpt(source_.path(), Out(), options).status().code(), StatusCode::kCancelled);
  EXPECT_TRUE(std::filesystem::is_empty(out_.path()));
}

TEST_F(TinyOptTest, FolderWithoutWeightsOrConfigIsRefused) {
  TinyOpt model;
  model.Write(source_.path());
  std::filesystem::remove(source_.Path("model.safetensors"));
  ExpectRefusal(StatusCode::kNotFound, {"model.safetensors"});
  test::WriteText(source_.Path("pytorch_model.bin"), "PK");
  ExpectRefusal(StatusCode::kUnsupported, {"save_pretrained"});
  std::filesystem::remove(source_.Path("config.json"));
  ExpectRefusal(StatusCode::kNotFound, {"config.json"});
}

TEST(OptPackerTest, EmbeddingsKeepMorePrecisionThanTheRest) {
  EXPECT_EQ(TypeOf("position_embd.weight", WeightType::kQ4_0), WeightType::kF16);
  EXPECT_EQ(TypeOf("token_embd.weight", WeightType::kQ4_0), WeightType::kQ8_0);
  EXPECT_EQ(TypeOf("output.weight", WeightType::kQ4_0), WeightType::kQ8_0);
  EXPECT_EQ(TypeOf("token_embd.weight", WeightType::kQ8_0), WeightType::kQ8_0);
  EXPECT_EQ(TypeOf("blk.3.attn_q.weight", WeightType::kQ4_0), WeightType::kQ4_0);
  EXPECT_EQ(TypeOf("token_embd.weight", WeightType::kF16), WeightType::kF16);
}

}  // namespace
}  // namespace glint
