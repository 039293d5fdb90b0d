#include "test/runtime/c_api_test.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "test/runtime/packed_model.h"
#include "test/support/temp_dir.h"
#include "test/support/tiny_model.h"

void c_api_failed(const char* file, int line, const char* claim, const char* message) {
  ADD_FAILURE_AT(file, line) << claim << (message[0] != '\0' ? "\n  error: " : "") << message;
}

namespace glint {
namespace {

class CApiTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto written = test::WriteTinyModel(model_, test::TinyModelConfig(), {.tokenizer = BuildByteTokenizer()});
    ASSERT_TRUE(written.ok()) << written.status().message();
    Embed(aligned_, files_.aligned_offset);
    Embed(unaligned_, files_.unaligned_offset);
    files_.model_bytes = written->file_bytes;
  }

  // The model's file between other bytes.
  void Embed(const std::string& path, uint64_t offset) const {
    std::ofstream file(path, std::ios::binary);
    file << std::string(offset, 'x') << test::ReadWhole(model_) << std::string(10'001, 'y');
    ASSERT_TRUE(file.good());
  }

  const test::TempDir folder_;
  const std::string model_ = folder_.Path("tiny.glint");
  const std::string missing_ = folder_.Path("missing.glint");
  const std::string aligned_ = folder_.Path("aligned.apk");
  const std::string unaligned_ = folder_.Path("unaligned.apk");
  c_api_files files_ = {.model = model_.c_str(),
                        .missing = missing_.c_str(),
                        .embedded_aligned = aligned_.c_str(),
                        .aligned_offset = 65536,
                        .embedded_unaligned = unaligned_.c_str(),
                        .unaligned_offset = 12345,
                        .model_bytes = 0};
};

#define GLINT_C_API_TEST(name) \
  TEST_F(CApiTest, name) { ::name(&files_); }
GLINT_C_API_TESTS(GLINT_C_API_TEST)

}  // namespace
}  // namespace glint
