// The tables of the x86 instruction sets. Only dispatch.cc may name them: they run where it has asked the CPU.
//
// The files that define them are compiled with instructions that the CPU may lack. An inline function with external
// linkage that such a file emits could replace the plain one of every other file, so they use nothing but intrinsics
// and functions of their own (a test looks at the object files).
#ifndef GLINT_RUNTIME_KERNELS_X86_TABLES_H_
#define GLINT_RUNTIME_KERNELS_X86_TABLES_H_

#include "runtime/kernels/kernels.h"

#if defined(__x86_64__)
namespace glint::x86 {
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
}  // namespace glint::x86
#endif

#endif  // GLINT_RUNTIME_KERNELS_X86_TABLES_H_
