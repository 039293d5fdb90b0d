// Anonymous memory taken from the operating system in one piece and given back whole.
#ifndef GLINT_STORAGE_FLASH_ALIGNED_BUFFER_H_
#define GLINT_STORAGE_FLASH_ALIGNED_BUFFER_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "glint/base/status.h"

namespace glint {

// The alignment of every buffer that direct I/O may land in; no device we know wants more.
inline constexpr uint64_t kPageBytes = 4096;

class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  // Returns zeroed, page-aligned memory of AlignUp(bytes, kPageBytes); kOutOfBudget where the system has none.
  static Result<AlignedBuffer> Allocate(uint64_t bytes);
  AlignedBuffer(AlignedBuffer&& other) noexcept;
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept;
  ~AlignedBuffer();

  std::span<std::byte> span() const { return {data_, bytes_}; }
  std::byte* data() const { return data_; }
  uint64_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  uint64_t bytes_ = 0;
};

// Hands out pieces of one buffer, front to back. Nothing is given back before the buffer is.
class Arena {
 public:
  explicit Arena(std::span<std::byte> memory) : memory_(memory) {}
  // Returns `bytes` bytes aligned to `alignment` (a power of two, at most kPageBytes). REQUIRES: they are left.
  std::span<std::byte> Take(uint64_t bytes, uint64_t alignment = 64);
  template <typename T>
  std::span<T> TakeArray(uint64_t count) {
    std::span<std::byte> bytes = Take(count * sizeof(T));
    return {reinterpret_cast<T*>(bytes.data()), static_cast<size_t>(count)};
  }
  uint64_t taken_bytes() const { return taken_; }

 private:
  std::span<std::byte> memory_;
  uint64_t taken_ = 0;
};

}  // namespace glint

#endif  // GLINT_STORAGE_FLASH_ALIGNED_BUFFER_H_
