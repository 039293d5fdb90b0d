// Reads arrays that NumPy saved: the references that tests compare with.
#ifndef GLINT_TEST_SUPPORT_NPY_H_
#define GLINT_TEST_SUPPORT_NPY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "glint/base/status.h"

namespace glint::test {

template <typename T>
struct NpyArray {
  std::vector<uint64_t> shape;
  std::vector<T> values;  // row-major, the product of `shape`
};

// Reads a .npy file (versions 1 to 3) of little-endian elements in C order, of exactly the type named: nothing is
// converted. kCorruptData or kUnsupported, with the file, what was wanted and got, for anything else.
Result<NpyArray<float>> ReadNpyFloat32(const std::string& path);
Result<NpyArray<int64_t>> ReadNpyInt64(const std::string& path);

}  // namespace glint::test

#endif  // GLINT_TEST_SUPPORT_NPY_H_
