// One timeline of tokens over a model: KV, logits, sampler, and the text shown so far.
#ifndef GLINT_RUNTIME_SESSION_H_
#define GLINT_RUNTIME_SESSION_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "glint/base/status.h"
#include "runtime/logits_hash.h"
#include "runtime/model.h"
#include "runtime/sampler.h"

namespace glint {

// Thread-compatible, except Cancel, which any thread or signal handler may call.
class Session {
 public:
  static Result<std::unique_ptr<Session>> Open(Model* model);  // the model outlives it

  uint32_t position() const { return position_; }

  // Called after each batch for each of its tokens with the logits that follow it.
  using LogitsVisitor = std::function<Status(uint32_t position, std::span<const float> logits)>;

  // Computes `tokens` after those that are there. With `visit`, logits of every position are computed; else of the last
  // alone. After an error or a cancellation the session is where the last finished batch left it.
  Status Feed(std::span<const TokenId> tokens, const LogitsVisitor& visit = nullptr);
  Status Rewind(uint32_t position);  // forgets half a character that Show kept back, too

  // Logits after the last token; kInvalidArgument where nothing was fed since opening or rewinding.
  Result<std::span<const float>> Logits() const;

  Status SetSampler(const SamplerOptions& options);
  Result<TokenId> Sample();
  uint64_t logits_hash() const { return hash_.Digest(); }

  // See glint_session_show.
  Result<std::string_view> Show(TokenId token);

  void Cancel() { cancel_.store(true, std::memory_order_relaxed); }

 private:
  Session(Model* model, Model::SessionLease memory);

  Model* model_;
  Model::SessionLease memory_;
  KvCache kv_;
  Sampler sampler_;
  LogitsHash hash_;
  Utf8Stream utf8_;
  std::string shown_;
  uint32_t position_ = 0;
  bool has_logits_ = false;
  std::atomic<bool> cancel_ = false;
};

}  // namespace glint

#endif  // GLINT_RUNTIME_SESSION_H_
