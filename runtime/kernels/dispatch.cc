#include "runtime/kernels/kernels.h"
#include "runtime/kernels/x86_tables.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace glint {

#if defined(__x86_64__)

namespace {

// __builtin_cpu_supports of clang 14 does not know F16C.
bool CpuHasF16c() {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

}  // namespace

// __builtin_cpu_supports knows of the operating system too: it reports AVX and AVX-512 only where XCR0 says that their
// registers are saved.
const Kernels* Avx2KernelsOrNull() {
  const bool supported = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && CpuHasF16c();
  return supported ? &x86::kAvx2Kernels : nullptr;
}

const Kernels* Avx512KernelsOrNull() {
  const bool supported = Avx2KernelsOrNull() != nullptr && __builtin_cpu_supports("avx512f") &&
                         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni");
  return supported ? &x86::kAvx512Kernels : nullptr;
}

#else

const Kernels* Avx2KernelsOrNull() { return nullptr; }
const Kernels* Avx512KernelsOrNull() { return nullptr; }

#endif

const Kernels& BestKernels() {
  if (const Kernels* kernels = Avx512KernelsOrNull()) return *kernels;
  if (const Kernels* kernels = Avx2KernelsOrNull()) return *kernels;
  return PortableKernels();
}

const Kernels* KernelsByNameOrNull(std::string_view name) {
  for (const Kernels* kernels : {&PortableKernels(), Avx2KernelsOrNull(), Avx512KernelsOrNull()}) {
    if (kernels != nullptr && kernels->name == name) return kernels;
  }
  return nullptr;
}

}  // namespace glint
