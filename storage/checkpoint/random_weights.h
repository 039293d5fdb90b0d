// Random numbers that are the same on every machine, and fast enough to fill gigabytes.
#ifndef GLINT_STORAGE_CHECKPOINT_RANDOM_WEIGHTS_H_
#define GLINT_STORAGE_CHECKPOINT_RANDOM_WEIGHTS_H_

#include <cstdint>
#include <span>
#include <vector>

namespace glint {

// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
class SplitMix {
 public:
  explicit SplitMix(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    uint64_t z = state_ += 0x9E3779B97F4A7C15U;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
  }
  // 0 <= result < bound. The bias is below bound / 2^64. REQUIRES: bound >= 1.
  uint64_t Below(uint64_t bound) {
    return static_cast<uint64_t>((static_cast<unsigned __int128>(Next()) * bound) >> 64);
  }

 private:
  uint64_t state_;
};

// Values with the magnitudes of a normal distribution: a pool of quantiles lends the exponents, random bits give sign
// and mantissa. Variance is exact, tails are a little heavier (kurtosis 4); no two stretches are equal.
// Thread-compatible.
class RandomWeights {
 public:
  explicit RandomWeights(uint64_t seed);
  // Fills `into` with mean 0 and standard deviation `deviation`.
  void Fill(std::span<float> into, float deviation);

 private:
  SplitMix random_;
  std::vector<float> pool_;  // kPoolSize values, twice over, so that a stretch may begin anywhere
};

// The normal distribution's quantile, by Acklam's rational approximation (relative error 1.2e-9). REQUIRES: 0 < p < 1.
double NormalQuantile(double p);

}  // namespace glint

#endif  // GLINT_STORAGE_CHECKPOINT_RANDOM_WEIGHTS_H_
