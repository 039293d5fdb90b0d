#include "runtime/session.h"

#include <algorithm>
#include <utility>

#include "glint/base/text.h"

namespace glint {

namespace {

KvShape ShapeOf(const Model& model) {
  const ModelConfig& config = model.config();
  return {config.layer_count, config.head_count, config.head_size(), model.request().context};
}

}  // namespace

Result<std::unique_ptr<Session>> Session::Open(Model* model) {
  Model::SessionLease memory = model->TakeSessionOrNull();
  if (memory == nullptr) {
    return OutOfBudget(Concat("all ", model->request().sessions_max,
                              " sessions are open; close one, or open the model with a larger sessions_max"));
  }
  return std::unique_ptr<Session>(new Session(model, std::move(memory)));
}

Session::Session(Model* model, Model::SessionLease memory)
    : model_(model),
      memory_(std::move(memory)),
      kv_(memory_->kv, ShapeOf(*model)),
      sampler_(SamplerOptions{}, model->sampled_vocab_size()) {}

Status Session::Feed(std::span<const TokenId> tokens, const LogitsVisitor& visit) {
  const uint32_t context = model_->request().context;
  if (tokens.size() > context - position_) {
    return InvalidArgument(Concat(tokens.size(), " tokens do not fit the context of ", context, " after the ",
                                  position_, " that are there; open the model with a larger context_max"));
  }
  const auto outside = [&](TokenId id) { return id < 0 || static_cast<uint32_t>(id) >= model_->config().vocab_size; };
  if (const auto bad = std::find_if(tokens.begin(), tokens.end(), outside); bad != tokens.end()) {
    return InvalidArgument(Concat("token id ", *bad, " is outside the vocabulary of ", model_->config().vocab_size));
  }
  const FloatEnvironment float_environment;
  while (!tokens.empty()) {
    const auto batch = tokens.first(std::min<size_t>(tokens.size(), model_->plan().batch_max));
    const auto count = static_cast<uint32_t>(batch.size());
    const auto turn = model_->BeginTurn();
    const Status stepped = model_->Step(batch, position_, &kv_, cancel_);
    if (!stepped.ok()) {
      if (stepped.code() == StatusCode::kCancelled) cancel_.store(false, std::memory_order_relaxed);
      return stepped;
    }
    std::copy(batch.begin(), batch.end(), memory_->history.begin() + position_);
    position_ += count;
    has_logits_ = false;
    tokens = tokens.subspan(count);
    if (!visit && !tokens.empty()) continue;
    for (uint32_t i = visit ? 0 : count - 1; i < count; ++i) {
      model_->Logits(i, memory_->logits);
      if (visit) GLINT_RETURN_IF_ERROR(visit(position_ - count + i, memory_->logits));
    }
    has_logits_ = true;
  }
  return Status::Ok();
}

Status Session::Rewind(uint32_t position) {
  if (position > position_) {
    return InvalidArgument(Concat("cannot rewind to position ", position, "; only ", position_, " tokens were fed"));
  }
  position_ = position;
  has_logits_ = false;
  utf8_ = Utf8Stream();
  return Status::Ok();
}

Result<std::span<const float>> Session::Logits() const {
  if (!has_logits_) return InvalidArgument("there are no logits; feed tokens first");
  return std::span<const float>(memory_->logits);
}

Status Session::SetSampler(const SamplerOptions& options) {
  GLINT_RETURN_IF_ERROR(ValidateSamplerOptions(options));
  sampler_.Restart(options);
  return Status::Ok();
}

Result<TokenId> Session::Sample() {
  GLINT_ASSIGN_OR_RETURN(const std::span<const float> logits, Logits());
  const FloatEnvironment float_environment;
  hash_.Add(logits);
  return sampler_.Sample(logits, memory_->history.first(position_));
}

Result<std::string_view> Session::Show(TokenId token) {
  const Tokenizer* tokenizer = model_->tokenizer_or_null();
  if (tokenizer == nullptr) return Unsupported("the model has no tokenizer, so its tokens have no text");
  shown_ = token < 0 ? utf8_.Finish()
                     : utf8_.Push(tokenizer->IsSpecial(token) ? std::string_view() : tokenizer->TokenBytes(token));
  return std::string_view(shown_);
}

}  // namespace glint
