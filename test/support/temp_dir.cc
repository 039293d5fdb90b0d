#include "test/support/temp_dir.h"

#include <cstdlib>
#include <filesystem>

#include "glint/base/check.h"

namespace glint::test {

TempDir::TempDir() {
  std::string pattern = (std::filesystem::temp_directory_path() / "glint-test-XXXXXX").string();
  GLINT_CHECK(mkdtemp(pattern.data()) != nullptr);
  path_ = pattern;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace glint::test
