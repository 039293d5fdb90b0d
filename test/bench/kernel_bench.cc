// Prints, for each table and weight type, on one thread: GB/s of weights read by a decode step's dots and scaled sums
// (rows beyond the caches), and GFLOP/s of a batch of 64 tokens, with a hash that must agree between tables. The time
// is the thread's own processor time, so that a busy machine disturbs it less.
#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <random>
#include <vector>

#include "runtime/kernels/kernels.h"

namespace glint {
namespace {

constexpr uint64_t kColumns = 2048;
constexpr uint64_t kWeightBytes = 128 * kMiB;
constexpr uint32_t kBatch = 64;
constexpr double kSecondsMin = 0.25;

struct Matrix {
  Matrix(WeightType type, uint64_t bytes) : stride(RowStride(type, kColumns)), memory(bytes / stride * stride) {
    std::mt19937_64 random(1);
    for (uint64_t r = 0; r < memory.size() / stride; ++r) {
      std::byte* row = memory.data() + r * stride;
      for (uint64_t i = 0; i < stride; i += 8) {
        // Every half is finite and below 2, whichever bytes of a row are read as halves or floats.
        const uint64_t bits = random() & 0xBBFFBBFFBBFFBBFFULL;
        std::copy_n(reinterpret_cast<const std::byte*>(&bits), 8, row + i);
      }
      rows.push_back(row);
    }
  }
  uint64_t stride;
  std::vector<std::byte> memory;
  std::vector<const std::byte*> rows;
};

struct Inputs {
  Inputs() : values(kBatch * kColumns), quants(values.size()), scales(values.size() / 32), sums(values.size() / 4) {
    std::mt19937_64 random(2);
    std::normal_distribution<float> normal(0, 1);
    for (float& value : values) value = normal(random);
    QuantizeActivations(values.data(), kBatch, kColumns, quants.data(), scales.data(), sums.data());
  }
  Activations View(uint32_t tokens) const {
    return {tokens, kColumns, kColumns, values.data(), quants.data(), scales.data(), sums.data()};
  }
  std::vector<float> values;
  std::vector<int8_t> quants;
  std::vector<float> scales;
  std::vector<int32_t> sums;
};

uint64_t Hash(const std::vector<float>& values) {
  uint64_t hash = 14695981039346656037ULL;
  for (const float value : values) hash = (hash ^ std::bit_cast<uint32_t>(value)) * 1099511628211ULL;
  return hash;
}

double ThreadSeconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// The least seconds of one call, of as many calls as fill kSecondsMin.
template <typename Call>
double Seconds(Call call) {
  double best = 1e9;
  for (double total = 0; total < kSecondsMin;) {
    const double start = ThreadSeconds();
    call();
    const double seconds = ThreadSeconds() - start;
    best = std::min(best, seconds);
    total += seconds;
  }
  return best;
}

void Report(const Kernels& kernels, WeightType type, const Matrix& matrix, const Inputs& inputs) {
  const uint64_t count = matrix.rows.size();
  const double gigabytes = static_cast<double>(matrix.memory.size()) * 1e-9;
  std::vector<float> dots(count);
  const double dot_seconds =
      Seconds([&] { kernels.dot_rows(type, matrix.rows.data(), count, inputs.View(1), dots.data(), count); });

  std::vector<float> h(count, 0.01F);
  std::vector<float> y(kColumns);
  const double add_seconds = Seconds([&] {
    std::fill(y.begin(), y.end(), 0.0F);
    kernels.add_scaled_rows(type, matrix.rows.data(), h.data(), count, kColumns, 0, kColumns, y.data());
  });

  const uint64_t batch_rows = std::min<uint64_t>(count, 2048);
  std::vector<float> batch(kBatch * batch_rows);
  const double batch_seconds = Seconds(
      [&] { kernels.dot_rows(type, matrix.rows.data(), batch_rows, inputs.View(kBatch), batch.data(), batch_rows); });
  const double gigaflops = 2e-9 * static_cast<double>(kBatch * batch_rows * kColumns) / batch_seconds;
  const uint64_t hash = Hash(dots) ^ Hash(y) * 3 ^ Hash(batch) * 5;
  std::printf("%-9s %-5s  %8.1f GB/s  %8.1f GB/s  %9.1f GFLOP/s  %016llx\n", kernels.name.data(),
              WeightTypeName(type).data(), gigabytes / dot_seconds, gigabytes / add_seconds, gigaflops,
              static_cast<unsigned long long>(hash));
  std::fflush(stdout);
}

void Run() {
  const FloatEnvironment environment;
  const Inputs inputs;
  std::printf("%-9s %-5s  %13s  %13s  %17s  %s\n", "table", "type", "dot", "scaled sum", "dot, 64 tokens", "hash");
  for (const WeightType type : {WeightType::kF32, WeightType::kF16, WeightType::kQ8_0, WeightType::kQ4_0}) {
    const Matrix matrix(type, kWeightBytes);
    for (const Kernels* kernels : {&PortableKernels(), Avx2KernelsOrNull(), Avx512KernelsOrNull()}) {
      if (kernels != nullptr) Report(*kernels, type, matrix, inputs);
    }
  }
}

}  // namespace
}  // namespace glint

int main() {
  glint::Run();
  return 0;
}
