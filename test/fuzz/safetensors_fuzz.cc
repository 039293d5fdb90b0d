// Arbitrary bytes as a safetensors file: headers are refused or read, and what was accepted can be read to its end.
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "glint/base/check.h"
#include "glint/base/text.h"
#include "storage/checkpoint/safetensors_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const int fd = memfd_create("safetensors", MFD_CLOEXEC);
  GLINT_CHECK(fd >= 0);
  GLINT_CHECK(write(fd, data, size) == static_cast<ssize_t>(size));
  glint::Result<glint::SafetensorsFile> file = glint::SafetensorsFile::Open(glint::Concat("/proc/self/fd/", fd));
  if (file.ok()) {
    uint64_t end = 0;
    for (const glint::TensorInfo& tensor : file->tensors) {
      GLINT_CHECK(tensor.extent.offset >= end);
      end = tensor.extent.end();
      std::vector<std::byte> bytes(tensor.extent.bytes);
      GLINT_CHECK(file->file.ReadBuffered(tensor.extent.offset, bytes).ok());
    }
    GLINT_CHECK(file->tensors.empty() || end == size);
  } else {
    GLINT_CHECK(!file.status().message().empty());
  }
  close(fd);
  return 0;
}
