#include "runtime/default_budget.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "glint/base/units.h"
#include "gtest/gtest.h"
#include "test/support/temp_dir.h"

namespace glint {
namespace {

class DefaultBudgetTest : public testing::Test {
 protected:
  void Write(const std::string& path, const std::string& text) {
    const std::filesystem::path full = root_.path() + path;
    std::filesystem::create_directories(full.parent_path());
    std::ofstream(full) << text;
  }
  uint64_t Budget() { return DefaultBudgetBytes(root_.path()).value(); }

  test::TempDir root_;
};

TEST_F(DefaultBudgetTest, IsThreeQuartersOfTheAvailableMemoryWithoutALimit) {
  Write("/proc/meminfo", "MemTotal: 4000 kB\nMemFree: 10 kB\nMemAvailable: 4000 kB\n");
  EXPECT_EQ(Budget(), 3000 * kKiB);
}

TEST_F(DefaultBudgetTest, KeepsToTheLimitOfAVersion2Group) {
  Write("/proc/meminfo", "MemAvailable: 4000000 kB\n");
  Write("/proc/self/cgroup", "0::/app/one\n");
  Write("/sys/fs/cgroup/app/one/memory.max", "max\n");
  Write("/sys/fs/cgroup/app/memory.max", "1073741824\n");
  EXPECT_EQ(Budget(), kGiB - 64 * kMiB);
}

TEST_F(DefaultBudgetTest, KeepsToTheLimitOfAVersion1Group) {
  Write("/proc/meminfo", "MemAvailable: 4000000 kB\n");
  Write("/proc/self/cgroup", "5:cpu,cpuacct:/\n4:memory:/small\n0::/\n");
  Write("/sys/fs/cgroup/memory/small/memory.limit_in_bytes", "209715200\n");
  Write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(Budget(), 136 * kMiB);
}

TEST_F(DefaultBudgetTest, ALimitBelowTheReserveLeavesNothing) {
  Write("/proc/meminfo", "MemAvailable: 4000000 kB\n");
  Write("/proc/self/cgroup", "4:memory:/small\n");
  Write("/sys/fs/cgroup/memory/small/memory.limit_in_bytes", "1000\n");
  EXPECT_EQ(Budget(), 0U);
}

TEST_F(DefaultBudgetTest, SaysSoWhereTheSystemDoesNotTell) { EXPECT_FALSE(DefaultBudgetBytes(root_.path()).ok()); }

}  // namespace
}  // namespace glint
