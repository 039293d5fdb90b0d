// Perplexity over windows of a text. The protocol is the included models': non-overlapping windows, the incomplete last
// one dropped, each fed as BOS and all of its tokens but the last, all of them predicted.
#ifndef GLINT_RUNTIME_PERPLEXITY_H_
#define GLINT_RUNTIME_PERPLEXITY_H_

#include <cmath>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "glint/base/ids.h"
#include "glint/base/status.h"
#include "runtime/session.h"

namespace glint {

struct PerplexityOptions {
  uint32_t window_tokens = 256;
  uint64_t windows_max = 0;  // 0: all
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

// Takes a text's tokens as they come, in any number of parts, and holds one window of them.
class PerplexityMeter {
 public:
  // Opens a session of its own. kUnsupported where the model has no BOS. REQUIRES: window_tokens >= 1, and the model
  // outlives this.
  static Result<PerplexityMeter> Open(Model* model, const PerplexityOptions& options);
  // Measures each window that becomes full. What comes after windows_max is ignored.
  Status Add(std::span<const TokenId> tokens);
  bool done() const { return options_.windows_max != 0 && measured_.windows == options_.windows_max; }
  // What was measured so far; kInvalidArgument where not one window was full.
  Result<Perplexity> Measured() const;

 private:
  PerplexityMeter(std::unique_ptr<Session> session, TokenId bos, const PerplexityOptions& options);
  Status MeasureWindow();

  std::unique_ptr<Session> session_;
  PerplexityOptions options_;
  std::vector<TokenId> window_;  // BOS, then up to window_tokens tokens
  Perplexity measured_;
};

}  // namespace glint

#endif  // GLINT_RUNTIME_PERPLEXITY_H_
