// The process's own high-water mark, as the kernel has it.
#ifndef GLINT_APPS_PROCESS_MEMORY_H_
#define GLINT_APPS_PROCESS_MEMORY_H_

#include <cstdint>

namespace glint {

// VmHWM of /proc/self/status in bytes; 0 where the system does not tell.
uint64_t PeakRssBytes();

}  // namespace glint

#endif  // GLINT_APPS_PROCESS_MEMORY_H_
