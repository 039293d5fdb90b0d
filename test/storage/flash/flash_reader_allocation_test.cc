// Counts every allocation of this program, to show that reading makes none.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <new>

#include "storage/flash/flash_reader.h"
#include "test/storage/flash/random_file.h"

namespace {
std::atomic<uint64_t> allocation_count = 0;
}  // namespace

// Not inlined: the compiler would take malloc and free for mismatched with what is left of new and delete.
[[gnu::noinline]] void* operator new(size_t bytes) {
  allocation_count.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(bytes > 0 ? bytes : 1); memory != nullptr) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t /*bytes*/) noexcept { std::free(memory); }

namespace glint {
namespace {

TEST(FlashReaderAllocationTest, NoReadAllocates) {
  const test::RandomFile random(1 << 20);
  const AlignedBuffer buffer = test::MakeBuffer(1 << 20);
  for (const IoEngineKind kind : {IoEngineKind::kAuto, IoEngineKind::kPread}) {
    for (const DirectIo direct : {DirectIo::kAuto, DirectIo::kOff}) {
      Result<FlashFile> file = FlashFile::Open(random.path(), direct, {});
      ASSERT_TRUE(file.ok());
      Result<std::unique_ptr<FlashReader>> opened = FlashReader::Open(std::move(file).value(), kind, {});
      ASSERT_TRUE(opened.ok());
      FlashReader& reader = **opened;
      std::array<FlashRead, 256> reads;
      for (uint32_t i = 0; i < 256; ++i) {
        reads[i] = {.offset = i * 4096u, .into = buffer.data() + i * 4096u, .bytes = 4096, .tag = i};
      }
      const uint64_t before = allocation_count.load();
      const bool read = reader.ReadAll(reads).ok();
      const bool submitted = reader.Submit(std::span(reads).first(10)).ok();
      reader.Drain();
      const uint64_t after = allocation_count.load();
      EXPECT_TRUE(read && submitted);
      EXPECT_EQ(after - before, 0u) << reader.engine_name();
      EXPECT_TRUE(random.Holds(0, buffer.span()));
    }
  }
}

}  // namespace
}  // namespace glint
