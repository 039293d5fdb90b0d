#include "test/support/npy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "test/support/temp_dir.h"

namespace glint::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class NpyTest : public testing::Test {
 protected:
  // Writes a version 1 file as NumPy does, and returns its path.
  template <typename T>
  std::string Write(const std::string& header, const std::vector<T>& values) {
    std::string bytes("\x93NUMPY\x01\x00", 8);
    bytes.push_back(static_cast<char>(header.size()));
    bytes.push_back(0);
    bytes += header;
    bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
    return WriteBytes(bytes);
  }
  std::string WriteBytes(const std::string& bytes) {
    const std::string path = dir_.Path("array.npy");
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }

  TempDir dir_;
};

const std::vector<float> kSix{1.5F, -2.0F, 3.0F, 4.0F, 5.0F, -0.0F};

TEST_F(NpyTest, FloatsKeepTheirShapeAndOrder) {
  const auto array = ReadNpyFloat32(Write("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }      \n", kSix));
  ASSERT_TRUE(array.ok()) << array.status().message();
  EXPECT_THAT(array->shape, ElementsAre(2, 3));
  EXPECT_EQ(std::memcmp(array->values.data(), kSix.data(), sizeof(float) * 6), 0);
}

TEST_F(NpyTest, IntegersOfOneDimensionAreRead) {
  const std::vector<int64_t> values{7, -1, int64_t{1} << 40};
  const auto array = ReadNpyInt64(Write("{'descr': '<i8', 'fortran_order': False, 'shape': (3,), }\n", values));
  ASSERT_TRUE(array.ok()) << array.status().message();
  EXPECT_THAT(array->shape, ElementsAre(3));
  EXPECT_EQ(array->values, values);
}

TEST_F(NpyTest, AnArrayWithoutDimensionsHasOneValue) {
  const auto array =
      ReadNpyInt64(Write("{'descr': '<i8', 'fortran_order': False, 'shape': (), }\n", std::vector<int64_t>{9}));
  ASSERT_TRUE(array.ok()) << array.status().message();
  EXPECT_THAT(array->shape, IsEmpty());
  EXPECT_THAT(array->values, ElementsAre(9));
}

TEST_F(NpyTest, VersionTwoHasAHeaderLengthOfFourBytes) {
  const std::string header = "{'descr': '<i8', 'fortran_order': False, 'shape': (1,), }\n";
  std::string bytes("\x93NUMPY\x02\x00", 8);
  bytes += std::string{static_cast<char>(header.size()), '\0', '\0', '\0'} + header;
  const auto array = ReadNpyInt64(WriteBytes(bytes + std::string("\x05\0\0\0\0\0\0\0", 8)));
  ASSERT_TRUE(array.ok()) << array.status().message();
  EXPECT_THAT(array->values, ElementsAre(5));
}

TEST_F(NpyTest, AnotherElementTypeIsRefused) {
  const std::string path = Write("{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }\n", kSix);
  EXPECT_EQ(ReadNpyInt64(path).status().code(), StatusCode::kUnsupported);
  EXPECT_THAT(ReadNpyInt64(path).status().message(), HasSubstr("<i8"));
}

TEST_F(NpyTest, FortranOrderIsRefused) {
  const std::string path = Write("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }\n", kSix);
  EXPECT_EQ(ReadNpyFloat32(path).status().code(), StatusCode::kUnsupported);
}

TEST_F(NpyTest, DataThatDoesNotFillTheShapeIsRefused) {
  for (const char* shape : {"(7,)", "(5,)", "(2, 2)", "(99999999, 99999999, 99999999)", "(0, 6)"}) {
    const std::string path =
        Write(std::string("{'descr': '<f4', 'fortran_order': False, 'shape': ") + shape + ", }\n", kSix);
    EXPECT_EQ(ReadNpyFloat32(path).status().code(), StatusCode::kCorruptData) << shape;
  }
}

TEST_F(NpyTest, ForeignAndCutFilesAreRefused) {
  EXPECT_EQ(ReadNpyFloat32(dir_.Path("absent.npy")).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(ReadNpyFloat32(WriteBytes("not an array at all")).status().code(), StatusCode::kCorruptData);
  EXPECT_EQ(ReadNpyFloat32(WriteBytes(std::string("\x93NUMPY\x01\x00\x76\x00{'de", 14))).status().code(),
            StatusCode::kCorruptData);
}

TEST_F(NpyTest, TheGoldensOfTheIncludedModelAreReadable) {
  const auto array = ReadNpyFloat32(GLINT_TEST_DATA "/models/tales-opt/goldens/golden_logits.npy");
  ASSERT_TRUE(array.ok()) << array.status().message();
  EXPECT_THAT(array->shape, ElementsAre(8, 4096));
}

}  // namespace
}  // namespace glint::test
