// A folder that is gone with its object.
#ifndef GLINT_TEST_SUPPORT_TEMP_DIR_H_
#define GLINT_TEST_SUPPORT_TEMP_DIR_H_

#include <string>

namespace glint::test {

class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  // Under the folder, for example Path("tiny.glint").
  std::string Path(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace glint::test

#endif  // GLINT_TEST_SUPPORT_TEMP_DIR_H_
