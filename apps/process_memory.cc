#include "apps/process_memory.h"

#include <fstream>
#include <sstream>
#include <string>

#include "glint/base/units.h"

namespace glint {

uint64_t PeakRssBytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    std::istringstream fields(line);
    std::string key;
    uint64_t kib = 0;
    if (fields >> key >> kib && key == "VmHWM:") return kib * kKiB;
  }
  return 0;
}

}  // namespace glint
