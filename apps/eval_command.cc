// Perplexity over windows of a text, and what the predictor did.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/command.h"
#include "apps/options.h"
#include "apps/process_memory.h"
#include "apps/progress_bar.h"
#include "glint/base/text.h"
#include "runtime/c_api_options.h"
#include "runtime/model.h"
#include "runtime/perplexity.h"

namespace glint {

namespace {

struct Options {
  glint_model_options model;
  std::string path;
  std::string text_file;
  uint32_t window = 256;
  uint64_t windows_max = 0;
  bool json = false;
};

Result<std::vector<TokenId>> ReadTokens(const Model& model, const std::string& path) {
  const Tokenizer* tokenizer = model.tokenizer_or_null();
  if (tokenizer == nullptr) return Unsupported("the model has no tokenizer");
  std::ifstream file(path, std::ios::binary);
  if (!file) return NotFound(Concat("cannot read ", Quote(path)));
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  std::vector<TokenId> tokens;
  GLINT_RETURN_IF_ERROR(tokenizer->Encode(text, /*parse_special=*/false, &tokens));
  return tokens;
}

Result<Perplexity> Measure(Model* model, const Options& options) {
  GLINT_ASSIGN_OR_RETURN(const std::vector<TokenId> tokens, ReadTokens(*model, options.text_file));
  ProgressBar bar("evaluating");
  return MeasurePerplexity(model, tokens,
                           {.window_tokens = options.window,
                            .windows_max = options.windows_max,
                            .progress = [&](uint64_t done, uint64_t total) { bar.Update(done, total); }});
}

// Both predictors of this version name every active neuron, since they compute what decides it.
struct Shares {
  double active = 0;
  double predicted = 0;
  double precision = 1;
  double recall = 1;
};

Shares SharesOf(std::span<const LayerActivity> layers, uint32_t neurons) {
  LayerActivity sum;
  for (const LayerActivity& layer : layers) {
    sum.tokens += layer.tokens;
    sum.active += layer.active;
    sum.predicted += layer.predicted;
  }
  const double all = static_cast<double>(sum.tokens) * neurons;
  return {.active = static_cast<double>(sum.active) / all,
          .predicted = static_cast<double>(sum.predicted) / all,
          .precision = sum.predicted == 0 ? 1 : static_cast<double>(sum.active) / static_cast<double>(sum.predicted)};
}

Status Eval(const Options& options) {
  GLINT_ASSIGN_OR_RETURN(ModelOptions model_options, ModelOptionsFromC(&options.model));
  model_options.measure_activity = true;
  if (model_options.context_max == 0) model_options.context_max = options.window;
  GLINT_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, Model::Open(options.path, model_options));
  GLINT_ASSIGN_OR_RETURN(const Perplexity perplexity, Measure(model.get(), options));
  const std::vector<LayerActivity> activity = model->Activity();
  const uint32_t neurons = model->config().ffn_size;
  const Shares all = SharesOf(activity, neurons);
  if (!options.json) {
    std::printf("perplexity %.5f over %llu tokens in %llu windows of %u; predictor %s\n", perplexity.Value(),
                static_cast<unsigned long long>(perplexity.tokens), static_cast<unsigned long long>(perplexity.windows),
                options.window, std::string(model->predictor().name()).c_str());
    std::printf("layer  active  predicted  recall  precision\n");
    for (size_t i = 0; i < activity.size(); ++i) {
      const Shares layer = SharesOf({&activity[i], 1}, neurons);
      std::printf("%5zu %6.2f%% %9.2f%% %7.4f %10.4f\n", i, layer.active * 100, layer.predicted * 100, layer.recall,
                  layer.precision);
    }
    std::printf("  all %6.2f%% %9.2f%% %7.4f %10.4f\n", all.active * 100, all.predicted * 100, all.recall,
                all.precision);
    return Status::Ok();
  }
  nlohmann::ordered_json layers = nlohmann::ordered_json::array();
  for (size_t i = 0; i < activity.size(); ++i) {
    const Shares layer = SharesOf({&activity[i], 1}, neurons);
    layers.push_back({{"layer", i},
                      {"recall", layer.recall},
                      {"precision", layer.precision},
                      {"active_fraction", layer.active},
                      {"predicted_fraction", layer.predicted}});
  }
  const ModelStats stats = model->Stats();
  const nlohmann::ordered_json report = {{"perplexity", perplexity.Value()},
                                         {"mean_nll", perplexity.MeanNll()},
                                         {"tokens", perplexity.tokens},
                                         {"windows", perplexity.windows},
                                         {"window", options.window},
                                         {"predictor", model->predictor().name()},
                                         {"recall", all.recall},
                                         {"precision", all.precision},
                                         {"active_fraction", all.active},
                                         {"predicted_fraction", all.predicted},
                                         {"budget_bytes", model->request().budget_bytes},
                                         {"peak_rss_bytes", PeakRssBytes()},
                                         {"flash_read_bytes", stats.reader.flash_read_bytes},
                                         {"missed_bundle_bytes", stats.stream.missed_bundle_bytes},
                                         {"cache_hits", stats.cache.cache_hits},
                                         {"cache_misses", stats.cache.cache_misses},
                                         {"layers", layers}};
  std::printf("%s\n", report.dump().c_str());
  return Status::Ok();
}

class EvalCommand final : public Command {
 public:
  explicit EvalCommand(CLI::App* app);
  Outcome Run() override { return {Eval(options_).message()}; }

 private:
  Options options_;
};

EvalCommand::EvalCommand(CLI::App* app) {
  CLI::App* command = app->add_subcommand("eval", "Measures perplexity, and which neurons were active and predicted");
  command->add_option("-m,--model", options_.path, "Model file")->required();
  command->add_option("-f,--file", options_.text_file, "Text")->required();
  AddModelOptions(command, &options_.model);
  // --window is the evaluation's here; the cache's is not needed to measure quality.
  command->remove_option(command->get_option("--window"));
  command->add_option("--window", options_.window, "Tokens per window")
      ->check(CLI::Range(1U, 1U << 20))
      ->capture_default_str();
  command->add_option("--windows-max", options_.windows_max, "At most so many windows; 0: all")->capture_default_str();
  command->add_flag("--json", options_.json, "Print one JSON object");
}

}  // namespace

std::unique_ptr<Command> AddEvalCommand(CLI::App* app) { return std::make_unique<EvalCommand>(app); }

}  // namespace glint
