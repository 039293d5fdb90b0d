#include "predictor/predictor.h"

namespace glint {

namespace {

class AllActivePredictor final : public Predictor {
 public:
  std::string_view name() const override { return "all"; }
  bool needs_first_activations() const override { return false; }
  bool lossless() const override { return true; }
  void Predict(const PredictInput& input, ActiveSet* active) const override {
    active->AddRange(input.first_neuron, input.first_neuron + input.neuron_count);
  }
};

class ExactPredictor final : public Predictor {
 public:
  std::string_view name() const override { return "exact"; }
  bool needs_first_activations() const override { return true; }
  bool lossless() const override { return true; }
  void Predict(const PredictInput& input, ActiveSet* active) const override {
    for (uint32_t t = 0; t < input.token_count; ++t) {
      const float* h = input.first_activations.data() + t * input.stride;
      for (uint32_t i = input.first_neuron; i < input.first_neuron + input.neuron_count; ++i) {
        if (h[i] != 0) active->Add(NeuronId(i));
      }
    }
  }
};

}  // namespace

std::unique_ptr<Predictor> MakeAllActivePredictor() { return std::make_unique<AllActivePredictor>(); }
std::unique_ptr<Predictor> MakeExactPredictor() { return std::make_unique<ExactPredictor>(); }

}  // namespace glint
