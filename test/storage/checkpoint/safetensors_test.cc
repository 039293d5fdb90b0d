#include "storage/checkpoint/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <limits>

#include "storage/checkpoint/tensor_reader.h"
#include "test/storage/checkpoint/checkpoint_maker.h"
#include "test/support/temp_dir.h"

namespace glint {
namespace {

using test::MadeTensor;
using test::SafetensorsBytes;
using test::SafetensorsOf;
using test::TempDir;
using test::WriteText;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kGoodHeader[] =
    R"({"a":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]},"b":{"dtype":"F32","shape":[1],"data_offsets":[12,16]}})";

class SafetensorsTest : public ::testing::Test {
 protected:
  // Opens a single file of these bytes.
  Result<Safetensors> OpenBytes(const std::string& bytes) {
    WriteText(folder_.Path("model.safetensors"), bytes);
    return Safetensors::Open(folder_.path());
  }
  Status HeaderFault(const std::string& header, size_t data_bytes = 16) {
    return OpenBytes(SafetensorsBytes(header, std::string(data_bytes, '\0'))).status();
  }
  Status IndexFault(const std::string& index) {
    WriteText(folder_.Path("model.safetensors.index.json"), index);
    return Safetensors::Open(folder_.path()).status();
  }

  TempDir folder_;
};

TEST_F(SafetensorsTest, WellFormedHeaderIsRead) {
  Result<Safetensors> checkpoint = OpenBytes(SafetensorsBytes(kGoodHeader, std::string(16, '\0')));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  ASSERT_NE(checkpoint->Find("a"), nullptr);
  EXPECT_EQ(checkpoint->Find("a")->shape, (std::vector<uint64_t>{2, 3}));
  EXPECT_EQ(checkpoint->Find("b")->extent, (Extent{8 + sizeof kGoodHeader - 1 + 12, 4}));
  EXPECT_EQ(checkpoint->Find("c"), nullptr);
}

TEST_F(SafetensorsTest, LyingHeaderLengthIsRefused) {
  const std::string good = SafetensorsBytes(kGoodHeader, std::string(16, '\0'));
  for (const uint64_t length : {uint64_t{0}, uint64_t{1}, sizeof kGoodHeader - 2, sizeof kGoodHeader + 0,
                                good.size() - 8, good.size(), std::numeric_limits<uint64_t>::max()}) {
    std::string bytes = good;
    for (int i = 0; i < 8; ++i) bytes[i] = static_cast<char>(length >> (8 * i));
    const Status status = OpenBytes(bytes).status();
    EXPECT_EQ(status.code(), StatusCode::kCorruptData) << length;
    EXPECT_THAT(status.message(), HasSubstr("model.safetensors"));
  }
}

TEST_F(SafetensorsTest, HeaderBeyondTheLimitIsRefusedUnread) {
  std::string bytes(8, '\0');
  const uint64_t length = kSafetensorsHeaderBytesMax + 1;
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<char>(length >> (8 * i));
  WriteText(folder_.Path("model.safetensors"), bytes);
  ASSERT_EQ(truncate(folder_.Path("model.safetensors").c_str(), static_cast<off_t>(length + 100)), 0);
  const Status status = Safetensors::Open(folder_.path()).status();
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_THAT(status.message(), HasSubstr(std::to_string(kSafetensorsHeaderBytesMax)));
}

TEST_F(SafetensorsTest, EveryTruncationIsRefused) {
  const std::string good = SafetensorsBytes(kGoodHeader, std::string(16, '\0'));
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_EQ(OpenBytes(good.substr(0, size)).status().code(), StatusCode::kCorruptData) << size;
  }
  EXPECT_EQ(OpenBytes(good + "x").status().code(), StatusCode::kCorruptData);
}

TEST_F(SafetensorsTest, FaultsOfTheHeaderAreNamed) {
  const struct {
    const char* header;
    const char* says;
  } cases[] = {
      {R"({"a":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]},"b":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}})",
       "overlap"},
      {R"({"a":{"dtype":"F16","shape":[2,3],"data_offsets":[4,16]}})", "hole"},
      {R"({"a":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]}})", "the tensors end at data offset 12"},
      {R"({"a":{"dtype":"F16","shape":[2,4],"data_offsets":[8,24]}})", "beyond the data's 16 bytes"},
      {R"({"a":{"dtype":"F16","shape":[2,4],"data_offsets":[18446744073709551608,18446744073709551615]}})",
       "wants 16 bytes, data_offsets give 7"},
      {R"({"a":{"dtype":"F16","shape":[2,4],"data_offsets":[16,0]}})", "before their begin"},
      {R"({"a":{"dtype":"F16","shape":[2,3],"data_offsets":[0,16]}})", "wants 12 bytes, data_offsets give 16"},
      {R"({"a":{"dtype":"F16","shape":[4294967296,4294967296,2],"data_offsets":[0,16]}})", "more bytes than can be"},
      {R"({"a":{"dtype":"F16","shape":[-2,-4],"data_offsets":[0,16]}})", "the number -2"},
      {R"({"a":{"dtype":"F16","shape":[8.0],"data_offsets":[0,16]}})", "the number '8.0'"},
      {R"({"a":{"dtype":"F16","shape":[99999999999999999999],"data_offsets":[0,16]}})", "99999999999999999999"},
      {R"({"a":{"dtype":"F16","shape":[8],"data_offsets":[0,16,16]}})", "wanted 2 data_offsets"},
      {R"({"a":{"dtype":"F16","shape":[8],"data_offsets":[0]}})", "wanted 2 data_offsets"},
      {R"({"a":{"dtype":"F16","shape":[8]}})", "data_offsets"},
      {R"({"a":{"dtype":"F16","shape":[1,1,1,1,1,1,1,1,8],"data_offsets":[0,16]}})", "at most 8 dimensions"},
      {R"({"a":{"dtype":"F17","shape":[8],"data_offsets":[0,16]}})", "unknown dtype 'F17'"},
      {R"({"a":{"dtype":7,"shape":[8],"data_offsets":[0,16]}})", "the number 7"},
      {R"({"a":{"dtype":"F16","dtype":"F16","shape":[8],"data_offsets":[0,16]}})", "comes twice"},
      {R"({"a":{"dtype":"F16","shape":[8],"data_offsets":[0,16],"stride":[1]}})", "'stride'"},
      {R"({"a":{"dtype":"F16","shape":[4],"data_offsets":[0,8]},"a":{"dtype":"F16","shape":[4],"data_offsets":[8,16]}})",
       "'a' comes twice"},
      {R"({"a":[[[[[[]]]]]]})", "an array"},
      {R"({"__metadata__":{"a":{"b":{}}}})", "an object"},
      {R"({"a":3})", "the number 3"},
      {R"([])", "wanted a JSON object"},
      {R"({"a":)", "header"},
      {"\xff\xfe", "header"},
  };
  for (const auto& c : cases) {
    const Status status = HeaderFault(c.header);
    EXPECT_TRUE(status.code() == StatusCode::kCorruptData || status.code() == StatusCode::kUnsupported) << c.header;
    EXPECT_THAT(status.message(), AllOf(HasSubstr("model.safetensors"), HasSubstr(c.says))) << c.header;
  }
}

TEST_F(SafetensorsTest, DeepNestingIsRefusedAtOnce) {
  EXPECT_EQ(HeaderFault(std::string(4 << 20, '[')).code(), StatusCode::kCorruptData);
  std::string deep = R"({"__metadata__":)";
  for (int i = 0; i < 100000; ++i) deep += R"({"a":)";
  EXPECT_EQ(HeaderFault(deep).code(), StatusCode::kCorruptData);
}

TEST_F(SafetensorsTest, ShardNamesWithAPathAreRefused) {
  WriteText(folder_.Path("ok.safetensors"), SafetensorsOf({{"a", {1}, {1.0F}}}, "F32"));
  EXPECT_TRUE(IndexFault(R"({"weight_map":{"a":"ok.safetensors"}})").ok());
  for (const char* name :
       {"../x.safetensors", "/etc/x.safetensors", "sub/x.safetensors", "..", "", ".safetensors", ".x.safetensors",
        "x.bin", "a\\\\x.safetensors", "c:x.safetensors", "x\\u0000.safetensors", "x\\n.safetensors"}) {
    const Status status = IndexFault(Concat(R"({"weight_map":{"a":")", name, R"("}})"));
    EXPECT_EQ(status.code(), StatusCode::kCorruptData) << name;
    EXPECT_THAT(status.message(), AllOf(HasSubstr("index.json"), HasSubstr("plain name"))) << name;
  }
}

TEST_F(SafetensorsTest, FaultsOfTheIndexAreNamed) {
  WriteText(folder_.Path("one.safetensors"), SafetensorsOf({{"a", {1}, {1.0F}}}, "F32"));
  WriteText(folder_.Path("two.safetensors"), SafetensorsOf({{"a", {1}, {2.0F}}, {"b", {1}, {2.0F}}}, "F32"));
  const struct {
    const char* index;
    const char* says;
  } cases[] = {
      {R"({"weight_map":{"a":"one.safetensors","b":"two.safetensors"}})", "as well"},
      {R"({"weight_map":{"a":"one.safetensors","c":"one.safetensors"}})", "'c'"},
      {R"({"weight_map":{"a":"three.safetensors"}})", "three.safetensors"},
      {R"({"weight_map":{"a":"one.safetensors","a":"two.safetensors"}})", "twice"},
      {R"({"weight_map":{"a":1}})", "number"},
      {R"({"weight_map":{}})", "weight_map"},
      {R"({"weight_map":[]})", "weight_map"},
      {R"({})", "weight_map"},
      {R"([])", "weight_map"},
      {R"({"weight_map":{"a":{"b":{"c":{"d":{}}}}}})", "depth"},
      {R"({"weight_map")", "JSON"},
  };
  for (const auto& c : cases) {
    const Status status = IndexFault(c.index);
    EXPECT_FALSE(status.ok()) << c.index;
    EXPECT_THAT(status.message(), AllOf(HasSubstr("safetensors"), HasSubstr(c.says))) << c.index;
  }
}

TEST_F(SafetensorsTest, ShardsTogetherHaveNoMoreTensorsThanOneMayHave) {
  uint64_t name = 0;
  const auto write_shard = [&](const std::string& file, uint64_t count) {
    std::string header = "{";
    for (uint64_t i = 0; i < count; ++i) {
      header += Concat(i == 0 ? "" : ",", "\"", name++, R"(":{"dtype":"F16","shape":[0],"data_offsets":[0,0]})");
    }
    WriteText(folder_.Path(file), SafetensorsBytes(header + "}", ""));
  };
  write_shard("one.safetensors", kSafetensorsTensorsMax - 2);
  write_shard("two.safetensors", 2);
  const std::string index = Concat(R"({"weight_map":{"0":"one.safetensors",")", name - 1, R"(":"two.safetensors"}})");
  EXPECT_TRUE(IndexFault(index).ok());
  write_shard("two.safetensors", 3);
  EXPECT_THAT(IndexFault(index).message(), AllOf(HasSubstr("two.safetensors"), HasSubstr("262144 tensors")));
}

TEST_F(SafetensorsTest, LinkThatLeadsNowhereIsRefusedByItsName) {
  std::filesystem::create_symlink("nowhere", folder_.Path("model.safetensors"));
  const Status status = Safetensors::Open(folder_.path()).status();
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_THAT(status.message(), HasSubstr("cannot open '" + folder_.Path("model.safetensors")));
}

TEST_F(SafetensorsTest, PickleAloneIsRefusedWithTheCommandThatConvertsIt) {
  EXPECT_EQ(Safetensors::Open(folder_.path()).status().code(), StatusCode::kNotFound);
  WriteText(folder_.Path("pytorch_model.bin"), "PK");
  const Status status = Safetensors::Open(folder_.path()).status();
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("pytorch_model.bin"), HasSubstr("save_pretrained"),
                                      HasSubstr("safe_serialization=True"), HasSubstr(folder_.path())));
}

// A matrix of 70 x 100 small integers, which every type holds exactly.
MadeTensor Matrix() {
  MadeTensor tensor{"m", {70, 100}, {}};
  for (int i = 0; i < 7000; ++i) tensor.values.push_back(static_cast<float>(i * 37 % 255 - 127));
  return tensor;
}

TEST_F(SafetensorsTest, RowsAndColumnsOfEveryTypeAreExact) {
  const MadeTensor matrix = Matrix();
  for (const char* type : {"F32", "F16", "BF16"}) {
    Result<Safetensors> checkpoint = OpenBytes(SafetensorsOf({{"v", {3}, {1, 2, 4}}, matrix}, type));
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    const TensorInfo* tensor = checkpoint->Find("m");
    ASSERT_TRUE(CheckReadable(*checkpoint, *tensor).ok());
    for (const uint64_t buffer_bytes : {1, 1000, 1 << 20}) {
      RowReader reader(&*checkpoint, tensor, buffer_bytes);
      std::vector<float> row(100);
      for (const uint64_t r : {0, 1, 2, 69, 3, 40, 41, 0}) {
        ASSERT_TRUE(reader.Read(r, row).ok());
        for (uint64_t c = 0; c < 100; ++c) ASSERT_EQ(row[c], matrix.values[r * 100 + c]) << type << r << " " << c;
      }
    }
    // Panels of 32, of 64 and of all columns.
    for (const uint64_t panel_bytes : {1, 70 * 4 * 64, 1 << 20}) {
      ColumnReader reader(&*checkpoint, tensor, panel_bytes);
      std::vector<float> column(70);
      const auto expect_column = [&](uint64_t c) {
        ASSERT_TRUE(reader.Read(c, column).ok());
        for (uint64_t r = 0; r < 70; ++r) ASSERT_EQ(column[r], matrix.values[r * 100 + c]) << type << r << " " << c;
      };
      for (uint64_t c = 0; c < 100; ++c) expect_column(c);
      for (const uint64_t c : {99, 0, 33, 31, 96, 64}) expect_column(c);
    }
    std::vector<float> vector(3);
    ASSERT_TRUE(RowReader(&*checkpoint, checkpoint->Find("v")).Read(0, vector).ok());
    EXPECT_EQ(vector, (std::vector<float>{1, 2, 4}));
  }
}

TEST_F(SafetensorsTest, NanAndInfinityAreRefusedByTensorAndIndex) {
  for (const char* type : {"F32", "F16", "BF16"}) {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
      MadeTensor matrix = Matrix();
      matrix.values[12 * 100 + 34] = bad;
      Result<Safetensors> checkpoint = OpenBytes(SafetensorsOf({matrix}, type));
      ASSERT_TRUE(checkpoint.ok());
      std::vector<float> row(100);
      std::vector<float> column(70);
      RowReader rows(&*checkpoint, checkpoint->Find("m"));
      ColumnReader columns(&*checkpoint, checkpoint->Find("m"));
      EXPECT_TRUE(rows.Read(11, row).ok());
      EXPECT_TRUE(columns.Read(33, column).ok());
      for (const Status& status : {rows.Read(12, row), columns.Read(34, column)}) {
        EXPECT_EQ(status.code(), StatusCode::kCorruptData);
        EXPECT_THAT(status.message(), AllOf(HasSubstr("'m'"), HasSubstr("[12, 34]"), HasSubstr("offset")));
      }
    }
  }
}

TEST_F(SafetensorsTest, TypesThatHoldNoFloatsAreNotReadable) {
  Result<Safetensors> checkpoint =
      OpenBytes(SafetensorsBytes(R"({"a":{"dtype":"I64","shape":[2],"data_offsets":[0,16]}})", std::string(16, '\0')));
  ASSERT_TRUE(checkpoint.ok());
  const Status status = CheckReadable(*checkpoint, *checkpoint->Find("a"));
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("'a'"), HasSubstr("I64"), HasSubstr("BF16")));
}

}  // namespace
}  // namespace glint
