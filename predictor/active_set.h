// The neurons computed for this token (or batch) and layer: a bit each, in fixed memory.
#ifndef GLINT_PREDICTOR_ACTIVE_SET_H_
#define GLINT_PREDICTOR_ACTIVE_SET_H_

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

#include "glint/base/check.h"
#include "glint/base/ids.h"

namespace glint {

class ActiveSet {
 public:
  explicit ActiveSet(uint32_t neuron_count) : neuron_count_(neuron_count), words_((neuron_count + 63) / 64) {}

  uint32_t neuron_count() const { return neuron_count_; }
  void Clear() { std::fill(words_.begin(), words_.end(), 0); }
  void Add(NeuronId neuron) {
    GLINT_DCHECK(neuron.value < neuron_count_);
    words_[neuron.value / 64] |= uint64_t{1} << (neuron.value % 64);
  }
  bool Contains(NeuronId neuron) const { return (words_[neuron.value / 64] >> (neuron.value % 64)) & 1; }
  // Adds [begin, end).
  void AddRange(uint32_t begin, uint32_t end) {
    for (uint32_t i = begin; i < end; ++i) Add(NeuronId(i));
  }
  uint32_t Count() const {
    uint32_t count = 0;
    for (const uint64_t word : words_) count += static_cast<uint32_t>(std::popcount(word));
    return count;
  }
  // Calls visit(NeuronId) for each member, ascending.
  template <typename Visit>
  void ForEach(Visit visit) const {
    for (size_t w = 0; w < words_.size(); ++w) {
      for (uint64_t word = words_[w]; word != 0; word &= word - 1) {
        visit(NeuronId(static_cast<uint32_t>(w * 64 + static_cast<size_t>(std::countr_zero(word)))));
      }
    }
  }

 private:
  uint32_t neuron_count_;
  std::vector<uint64_t> words_;
};

}  // namespace glint

#endif  // GLINT_PREDICTOR_ACTIVE_SET_H_
