#include "runtime/perplexity.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "glint/base/text.h"
#include "runtime/session.h"

namespace glint {

double NegativeLogLikelihood(std::span<const float> logits, TokenId token) {
  double maximum = logits[0];
  for (const float logit : logits) maximum = std::max<double>(maximum, logit);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - maximum);
  return maximum + std::log(sum) - logits[static_cast<size_t>(token)];
}

Result<Perplexity> MeasurePerplexity(Model* model, std::span<const TokenId> tokens, const PerplexityOptions& options) {
  const uint32_t window_tokens = options.window_tokens;
  uint64_t windows = tokens.size() / window_tokens;
  if (options.windows_max != 0) windows = std::min(windows, options.windows_max);
  if (windows == 0) {
    return InvalidArgument(Concat("the text has ", tokens.size(), " tokens; one window takes ", window_tokens));
  }
  const TokenId bos = model->config().bos_id;
  if (bos < 0) return Unsupported("the model has no BOS token, with which each window begins");
  GLINT_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, Session::Open(model));
  Perplexity perplexity;
  std::vector<TokenId> fed(window_tokens);
  for (uint64_t w = 0; w < windows; ++w) {
    const std::span<const TokenId> window = tokens.subspan(w * window_tokens, window_tokens);
    fed[0] = bos;
    std::copy(window.begin(), window.end() - 1, fed.begin() + 1);
    GLINT_RETURN_IF_ERROR(session->Rewind(0));
    GLINT_RETURN_IF_ERROR(session->Feed(fed, [&](uint32_t position, std::span<const float> logits) -> Status {
      const double nll = NegativeLogLikelihood(logits, window[position]);
      if (!std::isfinite(nll)) return CorruptData(Concat("logits at position ", position, " are not numbers"));
      perplexity.nll += nll;
      return Status::Ok();
    }));
    perplexity.tokens += window_tokens;
    perplexity.windows += 1;
    if (options.progress) options.progress(w + 1, windows);
  }
  return perplexity;
}

}  // namespace glint
