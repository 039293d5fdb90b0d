#include "test/storage/cache/allocation_counter.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<uint64_t> allocation_calls{0};
std::atomic<uint64_t> allocation_bytes{0};

}  // namespace

// The array and nothrow forms of the standard library call this one. Sanitizers see the malloc beneath it. Not inlined,
// or the compiler takes the free in one and the new of its caller for a mismatch.
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  allocation_calls.fetch_add(1, std::memory_order_relaxed);
  allocation_bytes.fetch_add(bytes, std::memory_order_relaxed);
  if (void* memory = std::malloc(bytes == 0 ? 1 : bytes)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace glint::test {

AllocationCount Allocations() {
  return {.calls = allocation_calls.load(std::memory_order_relaxed),
          .bytes = allocation_bytes.load(std::memory_order_relaxed)};
}

namespace {

// What stands on the counter would hold for any code if it did not count.
TEST(AllocationCounterTest, CountsCallsAndBytes) {
  const AllocationCount before = Allocations();
  void* memory = ::operator new(1000);
  const AllocationCount after = Allocations();
  ::operator delete(memory);
  EXPECT_EQ(after.calls - before.calls, 1u);
  EXPECT_EQ(after.bytes - before.bytes, 1000u);
}

}  // namespace
}  // namespace glint::test
