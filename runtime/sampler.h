// From logits to a token: repetition penalty, then top-k, top-p, min-p, temperature (llama.cpp's order), then a draw.
#ifndef GLINT_RUNTIME_SAMPLER_H_
#define GLINT_RUNTIME_SAMPLER_H_

#include <cstdint>
#include <span>
#include <vector>

#include "glint/base/ids.h"
#include "glint/base/status.h"

namespace glint {

struct SamplerOptions {
  float temperature = 0.8F;     // 0: greedy (the penalty still applies)
  uint32_t top_k = 40;          // 0: off
  float top_p = 0.95F;          // 1: off
  float min_p = 0.05F;          // 0: off
  float repeat_penalty = 1.0F;  // 1: off; over the last repeat_last tokens
  uint32_t repeat_last = 64;
  uint64_t seed = 0;
};

// kInvalidArgument by option name for what makes no sense (NaN, negative, zero penalty).
Status ValidateSamplerOptions(const SamplerOptions& options);

// Thread-compatible; allocates nothing after construction. The same options, logits and history give the same tokens.
class Sampler {
 public:
  // Only ids below sampled_vocab_size are ever returned. REQUIRES: options are valid.
  Sampler(const SamplerOptions& options, uint32_t sampled_vocab_size);
  // Begins anew with other options, in the memory that is there. REQUIRES: options are valid.
  void Restart(const SamplerOptions& options);
  // Heap bytes, for the budget.
  static uint64_t HeldBytes(uint32_t sampled_vocab_size);
  // `history`: all tokens so far, the newest last. Ties go to the lowest id. kCorruptData where a logit below
  // sampled_vocab_size is NaN or +infinity.
  Result<TokenId> Sample(std::span<const float> logits, std::span<const TokenId> history);

 private:
  struct Candidate {
    TokenId id;
    float logit;
    double probability;  // relative to the best candidate's, which has 1
  };

  // Returns whether `a` stands before `b`: the greater logit, of equal ones the lower id.
  static bool IsBetter(const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  }
  Status TakeCandidates(std::span<const float> logits);
  void Penalize(std::span<const float> logits, std::span<const TokenId> history);
  void KeepTopK();
  void KeepTopP();
  void KeepMinP();
  TokenId Draw();
  // Fills in each candidate's probability at `temperature` and returns their sum.
  double ComputeProbabilities(double temperature);
  // Returns a number in [0, 1), a multiple of 2^-53: the next of SplitMix64 (Steele, Lea, Flood 2014) from the seed.
  double NextRandom();

  SamplerOptions options_;
  uint32_t vocab_size_;
  uint64_t random_state_ = 0;
  std::vector<Candidate> candidates_;  // in order of id until the first filter sorts them
};

}  // namespace glint

#endif  // GLINT_RUNTIME_SAMPLER_H_
