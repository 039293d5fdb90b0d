#include "runtime/kernels/kernels.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace glint {

#if defined(__x86_64__)

namespace {
// Round to nearest, denormals kept, all exceptions masked: the state a process starts with.
constexpr uint32_t kDefaultControl = 0x1F80;
}  // namespace

FloatEnvironment::FloatEnvironment() : saved_(_mm_getcsr()) { _mm_setcsr(kDefaultControl); }
FloatEnvironment::~FloatEnvironment() { _mm_setcsr(static_cast<uint32_t>(saved_)); }

#elif defined(__aarch64__)

FloatEnvironment::FloatEnvironment() {
  asm volatile("mrs %0, fpcr" : "=r"(saved_));
  asm volatile("msr fpcr, %0" : : "r"(uint64_t{0}) : "memory");
}
FloatEnvironment::~FloatEnvironment() { asm volatile("msr fpcr, %0" : : "r"(saved_) : "memory"); }

#else
#error "FloatEnvironment needs this CPU's way to set rounding and flushing."
#endif

}  // namespace glint
