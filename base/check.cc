#include "glint/base/check.h"

#include <cstdio>
#include <cstdlib>

namespace glint {

void CheckFailed(const char* expression, const char* file, int line) {
  std::fprintf(stderr, "glint: check failed: %s at %s:%d\n", expression, file, line);
  std::abort();
}

}  // namespace glint
