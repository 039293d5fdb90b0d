// The program that the memory proof must reject: it reads a model file through a mapping, and claims to hold nothing.
//
//   mapped_reader FILE BUDGET_BYTES [PASSES]
//
// Reads every byte of FILE PASSES times (once where not given) and prints one JSON object with the keys of
// `glint run --json` that the proof reads. What it claims (`held_bytes_max`, `flash_read_bytes`) fits any budget, for
// the mapping shows in no counter of its own; the pages show in VmHWM, and in the memory of the cgroup.
// Exits 2 on bad arguments, 1 where the file cannot be mapped.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>
#include <string>

namespace {

std::optional<uint64_t> ParseCount(const char* text) {
  char* end = nullptr;
  const unsigned long long value = std::strtoull(text, &end, 10);
  if (*text < '0' || *text > '9' || *end != '\0') return std::nullopt;
  return value;
}

uint64_t PeakRssBytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::strtoull(line.c_str() + 6, nullptr, 10) * 1024;
  }
  return 0;
}

int Fail(const char* what, const char* path) {
  std::fprintf(stderr, "mapped_reader: cannot %s %s: %s\n", what, path, std::strerror(errno));
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::optional<uint64_t> budget_bytes = argc >= 3 ? ParseCount(argv[2]) : std::nullopt;
  const std::optional<uint64_t> passes = argc == 4 ? ParseCount(argv[3]) : std::optional<uint64_t>(1);
  if (argc < 3 || argc > 4 || !budget_bytes || !passes) {
    std::fprintf(stderr, "usage: mapped_reader FILE BUDGET_BYTES [PASSES]\n");
    return 2;
  }
  const int file = open(argv[1], O_RDONLY | O_CLOEXEC);
  if (file < 0) return Fail("open", argv[1]);
  struct stat about {};
  if (fstat(file, &about) != 0) return Fail("stat", argv[1]);
  const auto file_bytes = static_cast<uint64_t>(about.st_size);
  void* mapping = mmap(nullptr, file_bytes, PROT_READ, MAP_SHARED, file, 0);
  close(file);
  if (mapping == MAP_FAILED) return Fail("map", argv[1]);

  // The sum is printed, so that no compiler leaves the reads out.
  const auto* bytes = static_cast<const unsigned char*>(mapping);
  uint64_t sum = 0;
  for (uint64_t pass = 0; pass < *passes; ++pass) {
    for (uint64_t at = 0; at + sizeof(uint64_t) <= file_bytes; at += sizeof(uint64_t)) {
      uint64_t word;
      std::memcpy(&word, bytes + at, sizeof(word));
      sum += word;
    }
  }
  std::printf("{\"budget_bytes\": %" PRIu64 ", \"held_bytes_max\": 0, \"peak_rss_bytes\": %" PRIu64
              ", \"flash_read_bytes\": %" PRIu64 ", \"sum\": \"%016" PRIx64 "\"}\n",
              *budget_bytes, PeakRssBytes(), file_bytes * *passes, sum);
  return 0;
}
