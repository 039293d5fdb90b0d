// The predictor seam: which neurons of a layer does this batch of tokens need?
#ifndef GLINT_PREDICTOR_PREDICTOR_H_
#define GLINT_PREDICTOR_PREDICTOR_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "glint/base/ids.h"
#include "predictor/active_set.h"

namespace glint {

struct PredictInput {
  LayerIndex layer;
  uint32_t token_count = 0;
  // First activations act(first_row . x + bias) of the neurons [first_neuron, first_neuron + neuron_count):
  // first_activations[t * stride + i] for neuron i of the layer. Empty where the predictor does not need them.
  std::span<const float> first_activations;
  uint64_t stride = 0;
  uint32_t first_neuron = 0;
  uint32_t neuron_count = 0;
};

class Predictor {
 public:
  virtual ~Predictor() = default;
  virtual std::string_view name() const = 0;  // as on the command line
  // Whether the rows known first must be computed before Predict.
  virtual bool needs_first_activations() const = 0;
  // Whether every neuron with a non-zero activation is always named.
  virtual bool lossless() const = 0;
  // Adds to `active` the neurons among [first_neuron, first_neuron + neuron_count) that any token of the batch needs.
  virtual void Predict(const PredictInput& input, ActiveSet* active) const = 0;
};

std::unique_ptr<Predictor> MakeAllActivePredictor();
// Names exactly the neurons whose first activation is not zero.
std::unique_ptr<Predictor> MakeExactPredictor();

}  // namespace glint

#endif  // GLINT_PREDICTOR_PREDICTOR_H_
