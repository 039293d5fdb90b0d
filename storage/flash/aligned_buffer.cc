#include "storage/flash/aligned_buffer.h"

#include <sys/mman.h>

#include <cerrno>
#include <utility>

#include "glint/base/check.h"
#include "glint/base/text.h"
#include "glint/base/units.h"

namespace glint {

Result<AlignedBuffer> AlignedBuffer::Allocate(uint64_t bytes) {
  AlignedBuffer buffer;
  if (bytes == 0) return buffer;
  // Half of the address space is more than any system gives, and leaves room to round up.
  const uint64_t rounded = bytes <= SIZE_MAX / 2 ? AlignUp(bytes, kPageBytes) : 0;
  void* memory = rounded == 0
                     ? MAP_FAILED
                     : mmap(nullptr, rounded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, /*fd=*/-1, 0);
  if (memory == MAP_FAILED) {
    const int error = rounded == 0 ? ENOMEM : errno;
    return OutOfBudget(ErrnoStatus(Concat("cannot take ", bytes, " bytes of memory"), error).message());
  }
  buffer.data_ = static_cast<std::byte*>(memory);
  buffer.bytes_ = rounded;
  return buffer;
}

AlignedBuffer::AlignedBuffer(AlignedBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

AlignedBuffer& AlignedBuffer::operator=(AlignedBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

AlignedBuffer::~AlignedBuffer() {
  if (data_ != nullptr) munmap(data_, bytes_);
}

std::span<std::byte> Arena::Take(uint64_t bytes, uint64_t alignment) {
  GLINT_CHECK(alignment != 0 && (alignment & (alignment - 1)) == 0 && alignment <= kPageBytes);
  // What counts is the address: the memory itself may begin anywhere.
  const uint64_t base = reinterpret_cast<uintptr_t>(memory_.data());
  const uint64_t start = AlignUp(base + taken_, alignment) - base;
  GLINT_CHECK(start <= memory_.size() && bytes <= memory_.size() - start);
  taken_ = start + bytes;
  return memory_.subspan(start, bytes);
}

}  // namespace glint
