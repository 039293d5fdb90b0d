// Merges the bytes of one word into tokens: always the pair of the least rank, of several the leftmost.
#ifndef GLINT_TOKENIZER_BPE_MERGER_H_
#define GLINT_TOKENIZER_BPE_MERGER_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "glint/base/ids.h"
#include "glint/base/status.h"
#include "tokenizer/tokenizer_section.h"

namespace glint {

// Thread-compatible; keeps its scratch between words. The section outlives it.
class BpeMerger {
 public:
  explicit BpeMerger(const TokenizerSection& section) : section_(section) {}

  // Appends the word's ids, in n log n time. kInvalidArgument where a byte has no token.
  // REQUIRES: the word has less than 2^31 bytes.
  Status Append(std::string_view word, std::vector<TokenId>* ids);

 private:
  // Symbols form a list in the word's order; one that was merged into its left neighbour leaves it.
  struct Symbol {
    uint32_t id;  // kTokenNone: left the list
    uint32_t previous;
    uint32_t next;
  };
  // A merge of the symbol at `position` with its next, as it was when seen.
  struct Candidate {
    uint32_t rank;
    uint32_t position;
    uint32_t merged;
  };

  static bool IsLater(const Candidate& a, const Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  }
  // Returns whether the symbol at `position` and its next merge; then `*candidate` says how.
  bool FindCandidate(uint32_t position, Candidate* candidate) const;
  void PushCandidate(uint32_t position);
  void Merge(const Candidate& candidate);

  const TokenizerSection& section_;
  std::vector<Symbol> symbols_;
  std::vector<Candidate> heap_;  // the least rank, then the leftmost, on top
};

}  // namespace glint

#endif  // GLINT_TOKENIZER_BPE_MERGER_H_
