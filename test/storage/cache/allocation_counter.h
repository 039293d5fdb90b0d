// Counts what the whole test program takes from operator new, to show that a stretch of code takes nothing.
#ifndef GLINT_TEST_STORAGE_CACHE_ALLOCATION_COUNTER_H_
#define GLINT_TEST_STORAGE_CACHE_ALLOCATION_COUNTER_H_

#include <cstdint>

namespace glint::test {

struct AllocationCount {
  uint64_t calls = 0;
  uint64_t bytes = 0;  // asked for; what was given back is not subtracted
};

// Since the program began, over all threads.
AllocationCount Allocations();

}  // namespace glint::test

#endif  // GLINT_TEST_STORAGE_CACHE_ALLOCATION_COUNTER_H_
