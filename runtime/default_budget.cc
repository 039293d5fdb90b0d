#include "runtime/default_budget.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <sstream>

#include "glint/base/text.h"
#include "glint/base/units.h"

namespace glint {

namespace {

constexpr uint64_t kCgroupReserveBytes = 64 * kMiB;
constexpr uint64_t kNoLimit = std::numeric_limits<uint64_t>::max();

// The limit in a cgroup file; kNoLimit where there is no such file or it says "max".
uint64_t ReadLimit(const std::string& path) {
  std::ifstream file(path);
  uint64_t bytes = 0;
  return file >> bytes ? bytes : kNoLimit;
}

// The least limit of the group `path` ("/a/b") and of its parents under `mount`.
uint64_t LeastLimit(const std::string& mount, std::string path, const std::string& file) {
  uint64_t least = kNoLimit;
  while (true) {
    least = std::min(least, ReadLimit(Concat(mount, path, "/", file)));
    const size_t slash = path.rfind('/');
    if (path.empty() || slash == std::string::npos) return least;
    path.resize(slash);
  }
}

// Lines of /proc/self/cgroup: "4:memory:/user.slice" (v1) and "0::/user.slice" (v2).
uint64_t CgroupLimit(const std::string& root) {
  uint64_t least = kNoLimit;
  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = Concat(",", line.substr(first + 1, second - first - 1), ",");
    const std::string path = line.substr(second + 1) == "/" ? "" : line.substr(second + 1);
    if (controllers.find(",memory,") != std::string::npos) {
      least = std::min(least, LeastLimit(Concat(root, "/sys/fs/cgroup/memory"), path, "memory.limit_in_bytes"));
    } else if (controllers == ",,") {
      least = std::min(least, LeastLimit(Concat(root, "/sys/fs/cgroup"), path, "memory.max"));
    }
  }
  return least;
}

Result<uint64_t> AvailableBytes(const std::string& root) {
  const std::string path = root + "/proc/meminfo";
  std::ifstream meminfo(path);
  for (std::string line; std::getline(meminfo, line);) {
    std::istringstream fields(line);
    std::string key;
    uint64_t kib = 0;
    if (fields >> key >> kib && key == "MemAvailable:") return kib * kKiB;
  }
  return IoError(Concat("no MemAvailable in ", path, "; name a budget instead"));
}

}  // namespace

Result<uint64_t> DefaultBudgetBytes(const std::string& root) {
  GLINT_ASSIGN_OR_RETURN(const uint64_t available, AvailableBytes(root));
  const uint64_t share = available / 4 * 3;
  const uint64_t limit = CgroupLimit(root);
  if (limit == kNoLimit) return share;
  return std::min(share, limit - std::min(limit, kCgroupReserveBytes));
}

}  // namespace glint
