// What the arithmetic contract is measured by: one plain run of a model over tokens.
#ifndef GLINT_TEST_RUNTIME_REFERENCE_LOGITS_H_
#define GLINT_TEST_RUNTIME_REFERENCE_LOGITS_H_

#include <bit>
#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "glint/base/status.h"
#include "runtime/session.h"

namespace glint::test {

// Enough for everything that a model of these tests could hold.
inline constexpr uint64_t kEverythingBytes = 256 << 20;

struct ReferenceLogits {
  std::vector<TokenId> tokens;
  uint32_t vocab_size = 0;
  std::vector<float> rows;  // [tokens][vocab]: what follows each token

  std::span<const float> Row(uint32_t position) const {
    return std::span(rows).subspan(uint64_t{position} * vocab_size, vocab_size);
  }
};

// The plainest run there is: portable kernels, one thread, token by token, all neurons, memory for everything.
inline Result<ReferenceLogits> ComputeReference(const std::string& path, std::vector<TokenId> tokens) {
  ModelOptions options{.budget_bytes = kEverythingBytes, .threads = 1, .batch_max = 1};
  options.predictor = PredictorKind::kAll;
  options.io = IoEngineKind::kPread;
  options.kernels = &PortableKernels();
  GLINT_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, Model::Open(path, options));
  GLINT_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, Session::Open(model.get()));
  ReferenceLogits reference{.tokens = std::move(tokens), .vocab_size = model->config().vocab_size, .rows = {}};
  for (const TokenId token : reference.tokens) {
    GLINT_RETURN_IF_ERROR(session->Feed({&token, 1}));
    GLINT_ASSIGN_OR_RETURN(const std::span<const float> logits, session->Logits());
    reference.rows.insert(reference.rows.end(), logits.begin(), logits.end());
  }
  return reference;
}

// Bit for bit, -0 as +0. No NaN is equal to anything: a broken run must not pass against a broken reference.
inline bool HaveSameBits(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] != a[i]) return false;
    if (a[i] == 0 && b[i] == 0) continue;
    if (std::bit_cast<uint32_t>(a[i]) != std::bit_cast<uint32_t>(b[i])) return false;
  }
  return true;
}

// Equal seeds give equal tokens, whatever the standard library.
inline std::vector<TokenId> RandomTokens(uint64_t seed, uint32_t count, uint32_t vocab_size) {
  std::mt19937_64 random(seed);
  std::vector<TokenId> tokens(count);
  for (TokenId& token : tokens) token = static_cast<TokenId>(random() % vocab_size);
  return tokens;
}

}  // namespace glint::test

#endif  // GLINT_TEST_RUNTIME_REFERENCE_LOGITS_H_
