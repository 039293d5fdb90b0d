#include "runtime/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "glint/base/check.h"
#include "glint/base/text.h"

namespace glint {
namespace {

Status CheckRange(const char* name, float value, float least, float most) {
  if (value >= least && value <= most) return Status::Ok();  // false for NaN
  return InvalidArgument(Concat(name, ": wanted ", least, " to ", most, ", got ", value));
}

}  // namespace

Status ValidateSamplerOptions(const SamplerOptions& options) {
  constexpr float kMax = std::numeric_limits<float>::max();
  GLINT_RETURN_IF_ERROR(CheckRange("temperature", options.temperature, 0.0F, kMax));
  GLINT_RETURN_IF_ERROR(CheckRange("top_p", options.top_p, 0.0F, 1.0F));
  GLINT_RETURN_IF_ERROR(CheckRange("min_p", options.min_p, 0.0F, 1.0F));
  return CheckRange("repeat_penalty", options.repeat_penalty, std::numeric_limits<float>::min(), kMax);
}

Sampler::Sampler(const SamplerOptions& options, uint32_t sampled_vocab_size) : vocab_size_(sampled_vocab_size) {
  GLINT_CHECK(sampled_vocab_size > 0);
  candidates_.reserve(vocab_size_);
  Restart(options);
}

void Sampler::Restart(const SamplerOptions& options) {
  GLINT_CHECK(ValidateSamplerOptions(options).ok());
  options_ = options;
  random_state_ = options.seed;
}

uint64_t Sampler::HeldBytes(uint32_t sampled_vocab_size) { return sizeof(Candidate) * uint64_t{sampled_vocab_size}; }

Result<TokenId> Sampler::Sample(std::span<const float> logits, std::span<const TokenId> history) {
  GLINT_CHECK(logits.size() >= vocab_size_);
  GLINT_RETURN_IF_ERROR(TakeCandidates(logits));
  Penalize(logits, history);
  if (options_.temperature == 0.0F) return std::min_element(candidates_.begin(), candidates_.end(), IsBetter)->id;
  KeepTopK();
  KeepTopP();
  KeepMinP();
  return Draw();
}

Status Sampler::TakeCandidates(std::span<const float> logits) {
  candidates_.clear();
  bool any_finite = false;
  for (uint32_t id = 0; id < vocab_size_; ++id) {
    const float logit = logits[id];
    if (!(logit < std::numeric_limits<float>::infinity())) {
      return CorruptData(Concat("the logit of token ", id, " is ", logit, ": the model or its input is damaged"));
    }
    any_finite |= logit > -std::numeric_limits<float>::infinity();
    candidates_.push_back({static_cast<TokenId>(id), logit, 0.0});
  }
  if (!any_finite) return CorruptData("the logits of all tokens are -infinity: the model or its input is damaged");
  return Status::Ok();
}

void Sampler::Penalize(std::span<const float> logits, std::span<const TokenId> history) {
  if (options_.repeat_penalty == 1.0F) return;
  constexpr float kMax = std::numeric_limits<float>::max();
  for (const TokenId id : history.last(std::min<size_t>(options_.repeat_last, history.size()))) {
    if (id < 0 || static_cast<uint32_t>(id) >= vocab_size_) continue;
    const float logit = logits[static_cast<size_t>(id)];
    if (std::isinf(logit)) continue;
    // From the untouched logit, so that a token counts once however often it occurs. Kept finite.
    const float penalized = logit > 0.0F ? logit / options_.repeat_penalty : logit * options_.repeat_penalty;
    candidates_[static_cast<size_t>(id)].logit = std::clamp(penalized, -kMax, kMax);
  }
}

void Sampler::KeepTopK() {
  if (options_.top_k == 0 || options_.top_k >= candidates_.size()) return;
  const auto end = candidates_.begin() + options_.top_k;
  std::nth_element(candidates_.begin(), end, candidates_.end(), IsBetter);
  candidates_.erase(end, candidates_.end());
  // The selection's own order is the library's choice; the draw goes by this one.
  std::sort(candidates_.begin(), candidates_.end(), IsBetter);
}

void Sampler::KeepTopP() {
  if (options_.top_p >= 1.0F) return;
  std::sort(candidates_.begin(), candidates_.end(), IsBetter);
  const double wanted = options_.top_p * ComputeProbabilities(1.0);
  double sum = 0.0;
  size_t kept = 0;
  do {
    sum += candidates_[kept++].probability;
  } while (sum < wanted && kept < candidates_.size());
  candidates_.resize(kept);
}

void Sampler::KeepMinP() {
  if (options_.min_p <= 0.0F) return;
  ComputeProbabilities(1.0);
  std::erase_if(candidates_, [this](const Candidate& c) { return c.probability < options_.min_p; });
}

TokenId Sampler::Draw() {
  const double target = NextRandom() * ComputeProbabilities(options_.temperature);
  double sum = 0.0;
  TokenId last_possible = candidates_.front().id;
  for (const Candidate& candidate : candidates_) {
    if (candidate.probability == 0.0) continue;
    sum += candidate.probability;
    last_possible = candidate.id;
    if (target < sum) break;
  }
  return last_possible;
}

double Sampler::ComputeProbabilities(double temperature) {
  const double best = std::min_element(candidates_.begin(), candidates_.end(), IsBetter)->logit;
  double sum = 0.0;
  for (Candidate& candidate : candidates_) {
    candidate.probability = std::exp((candidate.logit - best) / temperature);
    sum += candidate.probability;
  }
  return sum;
}

double Sampler::NextRandom() {
  random_state_ += 0x9E3779B97F4A7C15u;
  uint64_t bits = random_state_;
  bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9u;
  bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EBu;
  bits ^= bits >> 31;
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

}  // namespace glint
