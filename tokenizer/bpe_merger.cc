#include "tokenizer/bpe_merger.h"

#include <algorithm>

#include "glint/base/text.h"

namespace glint {
namespace {

constexpr uint32_t kNoSymbol = 0xFFFFFFFF;

}  // namespace

Status BpeMerger::Append(std::string_view word, std::vector<TokenId>* ids) {
  symbols_.clear();
  heap_.clear();
  const auto count = static_cast<uint32_t>(word.size());
  for (uint32_t i = 0; i < count; ++i) {
    const auto byte = static_cast<uint8_t>(word[i]);
    const uint32_t id = section_.ByteId(byte);
    if (id == kTokenNone) return InvalidArgument(Concat("the tokenizer has no token for byte ", uint32_t{byte}));
    symbols_.push_back({id, i == 0 ? kNoSymbol : i - 1, i + 1 == count ? kNoSymbol : i + 1});
  }
  Candidate candidate;
  for (uint32_t i = 0; i < count; ++i) {
    if (FindCandidate(i, &candidate)) heap_.push_back(candidate);
  }
  std::make_heap(heap_.begin(), heap_.end(), IsLater);
  while (!heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end(), IsLater);
    const Candidate best = heap_.back();
    heap_.pop_back();
    // The list may have changed since this was pushed: it holds only if the same merge is still there.
    if (FindCandidate(best.position, &candidate) && candidate.merged == best.merged) Merge(best);
  }
  for (uint32_t i = 0; i < count; i = symbols_[i].next) {  // kNoSymbol is beyond every count
    ids->push_back(static_cast<TokenId>(symbols_[i].id));
  }
  return Status::Ok();
}

bool BpeMerger::FindCandidate(uint32_t position, Candidate* candidate) const {
  const Symbol& symbol = symbols_[position];
  if (symbol.id == kTokenNone || symbol.next == kNoSymbol) return false;
  TokenizerSection::Merge merge;
  if (!section_.FindMerge(symbol.id, symbols_[symbol.next].id, &merge)) return false;
  *candidate = {merge.rank, position, merge.merged};
  return true;
}

void BpeMerger::PushCandidate(uint32_t position) {
  Candidate candidate;
  if (!FindCandidate(position, &candidate)) return;
  heap_.push_back(candidate);
  std::push_heap(heap_.begin(), heap_.end(), IsLater);
}

void BpeMerger::Merge(const Candidate& candidate) {
  Symbol& left = symbols_[candidate.position];
  Symbol& right = symbols_[left.next];
  left.id = candidate.merged;
  left.next = right.next;
  right.id = kTokenNone;
  if (left.next != kNoSymbol) symbols_[left.next].previous = candidate.position;
  if (left.previous != kNoSymbol) PushCandidate(left.previous);
  PushCandidate(candidate.position);
}

}  // namespace glint
