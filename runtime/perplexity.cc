#include "runtime/perplexity.h"

#include <algorithm>
#include <utility>

#include "glint/base/text.h"

namespace glint {

double NegativeLogLikelihood(std::span<const float> logits, TokenId token) {
  double maximum = logits[0];
  for (const float logit : logits) maximum = std::max<double>(maximum, logit);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - maximum);
  return maximum + std::log(sum) - logits[static_cast<size_t>(token)];
}

PerplexityMeter::PerplexityMeter(std::unique_ptr<Session> session, TokenId bos, const PerplexityOptions& options)
    : session_(std::move(session)), options_(options), window_{bos} {
  window_.reserve(options.window_tokens + 1);
}

Result<PerplexityMeter> PerplexityMeter::Open(Model* model, const PerplexityOptions& options) {
  const TokenId bos = model->config().bos_id;
  if (bos < 0) return Unsupported("the model has no BOS token, with which each window begins");
  GLINT_ASSIGN_OR_RETURN(std::unique_ptr<Session> session, Session::Open(model));
  return PerplexityMeter(std::move(session), bos, options);
}

Status PerplexityMeter::Add(std::span<const TokenId> tokens) {
  while (!tokens.empty() && !done()) {
    const size_t missing = options_.window_tokens + 1 - window_.size();
    const auto part = tokens.first(std::min(missing, tokens.size()));
    window_.insert(window_.end(), part.begin(), part.end());
    tokens = tokens.subspan(part.size());
    if (part.size() < missing) break;
    GLINT_RETURN_IF_ERROR(MeasureWindow());
    window_.resize(1);
  }
  return Status::Ok();
}

// Each token is predicted from those before it in the window.
Status PerplexityMeter::MeasureWindow() {
  GLINT_RETURN_IF_ERROR(session_->Rewind(0));
  const auto fed = std::span<const TokenId>(window_).first(options_.window_tokens);
  GLINT_RETURN_IF_ERROR(session_->Feed(fed, [&](uint32_t position, std::span<const float> logits) -> Status {
    const double nll = NegativeLogLikelihood(logits, window_[position + 1]);
    if (!std::isfinite(nll)) return CorruptData(Concat("logits at position ", position, " are not numbers"));
    measured_.nll += nll;
    return Status::Ok();
  }));
  measured_.tokens += options_.window_tokens;
  measured_.windows += 1;
  return Status::Ok();
}

Result<Perplexity> PerplexityMeter::Measured() const {
  if (measured_.windows == 0) {
    return InvalidArgument(
        Concat("the text has ", window_.size() - 1, " tokens; one window takes ", options_.window_tokens));
  }
  return measured_;
}

}  // namespace glint
