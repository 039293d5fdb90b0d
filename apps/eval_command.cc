// Perplexity over windows of a text, and what the predictor did.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/command.h"
#include "apps/options.h"
#include "apps/print_json.h"
#include "apps/process_memory.h"
#include "apps/progress_bar.h"
#include "glint/base/text.h"
#include "glint/base/units.h"
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

// A text may be larger than the memory, so it is encoded as it is read. What cannot be parted for so long is refused.
constexpr uint64_t kUnparted = 1 * kMiB;

Result<Perplexity> Measure(Model* model, const Options& options) {
  constexpr size_t kReadBytes = 4 * kKiB;  // about a window, so that the progress shows
  const Tokenizer* tokenizer = model->tokenizer_or_null();
  if (tokenizer == nullptr) return Unsupported("the model has no tokenizer");
  GLINT_ASSIGN_OR_RETURN(PerplexityMeter meter, PerplexityMeter::Open(model, {options.window, options.windows_max}));
  std::ifstream file(options.text_file, std::ios::binary);
  std::error_code error;
  const uint64_t file_bytes = std::filesystem::file_size(options.text_file, error);  // of a pipe unknown
  ProgressBar bar("evaluating");
  std::string text;  // read, but not yet encoded
  std::vector<TokenId> tokens;
  uint64_t encoded_bytes = 0;
  while (file.good() && !meter.done()) {
    const size_t before = text.size();
    text.resize(before + kReadBytes);
    file.read(text.data() + before, kReadBytes);
    text.resize(before + static_cast<size_t>(file.gcount()));
    const size_t ready = file.eof() ? text.size() : tokenizer->SeparableBytes(text, /*parse_special=*/false);
    if (ready == 0 && text.size() > kUnparted) {
      return InvalidArgument(Concat(Quote(options.text_file), ": more than ", kUnparted, " bytes from offset ",
                                    encoded_bytes, " on without a space or a line break at which to part the text"));
    }
    tokens.clear();
    GLINT_RETURN_IF_ERROR(tokenizer->Encode(std::string_view(text).substr(0, ready), /*parse_special=*/false, &tokens));
    GLINT_RETURN_IF_ERROR(meter.Add(tokens));
    text.erase(0, ready);
    encoded_bytes += ready;
    if (!error) bar.Update(encoded_bytes, file_bytes);
  }
  if (!file.is_open() || file.bad()) return NotFound(Concat("cannot read ", Quote(options.text_file)));
  return meter.Measured();
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
  PrintJson(report);
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
