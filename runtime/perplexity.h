// Perplexity over windows of a text. The protocol is the included models': non-overlapping windows, the incomplete last
// one dropped, each fed as BOS and all of its tokens but the last, all of them predicted.
#ifndef GLINT_RUNTIME_PERPLEXITY_H_
#define GLINT_RUNTIME_PERPLEXITY_H_

#include <cmath>
#include <cstdint>
#include <functional>
#include <span>

#include "glint/base/ids.h"
#include "glint/base/status.h"
#include "runtime/model.h"

namespace glint {

struct PerplexityOptions {
  uint32_t window_tokens = 256;
  uint64_t windows_max = 0;                                     // 0: all
  std::function<void(uint64_t done, uint64_t total)> progress;  // of windows; may be empty
};

struct Perplexity {
  uint64_t windows = 0;
  uint64_t tokens = 0;  // predicted
  double nll = 0;       // negative log likelihood, summed

  double MeanNll() const { return nll / static_cast<double>(tokens); }
  double Value() const { return std::exp(MeanNll()); }
};

// -log softmax(logits)[token], summed in double. REQUIRES: token is an index of logits.
double NegativeLogLikelihood(std::span<const float> logits, TokenId token);

// Opens a session of its own. kInvalidArgument where `tokens` are fewer than a window; kUnsupported where the model has
// no BOS. REQUIRES: window_tokens >= 1.
Result<Perplexity> MeasurePerplexity(Model* model, std::span<const TokenId> tokens, const PerplexityOptions& options);

}  // namespace glint

#endif  // GLINT_RUNTIME_PERPLEXITY_H_
