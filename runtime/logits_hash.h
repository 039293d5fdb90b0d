// The witness of bit equality: XXH3-64 over the logits of each sampled position (design, section 2a.8).
#ifndef GLINT_RUNTIME_LOGITS_HASH_H_
#define GLINT_RUNTIME_LOGITS_HASH_H_

#include <cstdint>
#include <memory>
#include <span>

struct XXH3_state_s;  // xxHash's

namespace glint {

class LogitsHash {
 public:
  LogitsHash();
  // Takes the float32 values in little-endian order, -0 as +0. Allocates nothing.
  void Add(std::span<const float> logits);
  uint64_t Digest() const;

 private:
  struct FreeState {
    void operator()(XXH3_state_s* state) const;
  };
  std::unique_ptr<XXH3_state_s, FreeState> state_;
};

}  // namespace glint

#endif  // GLINT_RUNTIME_LOGITS_HASH_H_
