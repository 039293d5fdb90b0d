// Perplexity over windows of a text, and what the predictor did. The protocol is the included models': non-overlapping
// windows, the incomplete last one dropped, each fed as BOS + all of its tokens but the last, all of them predicted.
#include <CLI/CLI.hpp>
#include <cmath>
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
#include "runtime/session.h"

namespace glint {

namespace {

struct Options {
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

// -log softmax(logits)[token], summed in double.
double NegativeLogLikelihood(std::span<const float> logits, TokenId token) {
  double maximum = logits[0];
  for (const float logit : logits) maximum = std::max<double>(maximum, logit);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - maximum);
  return maximum + std::log(sum) - logits[static_cast<size_t>(token)];
}

struct Evaluation {
  uint64_t windows = 0;
  uint64_t tokens = 0;
  double nll = 0;  // summed
  std::vector<LayerActivity> layers;

  double Perplexity() const { return std::exp(nll / static_cast<double>(tokens)); }
};

Result<Evaluation> Evaluate(Model* model, const Options& options) {
  GLINT_ASSIGN_OR_RETURN(const std::vector<TokenId> tokens, ReadTokens(*model, options.text_file));
  uint64_t windows = tokens.size() / options.window;
  if (options.windows_max != 0) windows = std::min(windows, options.windows_max);
  if (windows == 0) {
    return InvalidArgument(
        Concat(options.text_file, " has ", tokens.size(), " tokens; one window takes ", options.window));
  }
  const TokenId bos = model->config().bos_id;
  if (bos < 0) return Unsupported("the model has no BOS token, with which each window begins");
  GLINT_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, Session::Open(model));
  ProgressBar bar("evaluating");
  Evaluation evaluation;
  std::vector<TokenId> fed(options.window);
  for (uint64_t w = 0; w < windows; ++w) {
    const std::span<const TokenId> window = std::span(tokens).subspan(w * options.window, options.window);
    fed[0] = bos;
    std::copy(window.begin(), window.end() - 1, fed.begin() + 1);
    GLINT_RETURN_IF_ERROR(session->Rewind(0));
    GLINT_RETURN_IF_ERROR(session->Feed(fed, [&](uint32_t position, std::span<const float> logits) -> Status {
      const double nll = NegativeLogLikelihood(logits, window[position]);
      if (!std::isfinite(nll)) return CorruptData(Concat("logits at position ", position, " are not numbers"));
      evaluation.nll += nll;
      return Status::Ok();
    }));
    evaluation.tokens += options.window;
    evaluation.windows += 1;
    bar.Update(w + 1, windows);
  }
  evaluation.layers = model->Activity();
  return evaluation;
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

Status Eval(const Options& options, ModelOptions model_options) {
  model_options.measure_activity = true;
  if (model_options.context_max == 0) model_options.context_max = options.window;
  GLINT_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, Model::Open(options.path, model_options));
  GLINT_ASSIGN_OR_RETURN(const Evaluation evaluation, Evaluate(model.get(), options));
  const uint32_t neurons = model->config().ffn_size;
  const Shares all = SharesOf(evaluation.layers, neurons);
  if (!options.json) {
    std::printf("perplexity %.5f over %llu tokens in %llu windows of %u; predictor %s\n", evaluation.Perplexity(),
                static_cast<unsigned long long>(evaluation.tokens), static_cast<unsigned long long>(evaluation.windows),
                options.window, std::string(model->predictor().name()).c_str());
    std::printf("layer  active  predicted  recall  precision\n");
    for (size_t i = 0; i < evaluation.layers.size(); ++i) {
      const Shares layer = SharesOf({&evaluation.layers[i], 1}, neurons);
      std::printf("%5zu %6.2f%% %9.2f%% %7.4f %10.4f\n", i, layer.active * 100, layer.predicted * 100, layer.recall,
                  layer.precision);
    }
    std::printf("  all %6.2f%% %9.2f%% %7.4f %10.4f\n", all.active * 100, all.predicted * 100, all.recall,
                all.precision);
    return Status::Ok();
  }
  nlohmann::ordered_json layers = nlohmann::ordered_json::array();
  for (size_t i = 0; i < evaluation.layers.size(); ++i) {
    const Shares layer = SharesOf({&evaluation.layers[i], 1}, neurons);
    layers.push_back({{"layer", i},
                      {"recall", layer.recall},
                      {"precision", layer.precision},
                      {"active_fraction", layer.active},
                      {"predicted_fraction", layer.predicted}});
  }
  const ModelStats stats = model->Stats();
  const nlohmann::ordered_json report = {{"perplexity", evaluation.Perplexity()},
                                         {"mean_nll", evaluation.nll / static_cast<double>(evaluation.tokens)},
                                         {"tokens", evaluation.tokens},
                                         {"windows", evaluation.windows},
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

}  // namespace

void AddEvalCommand(CLI::App* app, Action* action) {
  auto options = std::make_shared<Options>();
  auto given = std::make_shared<glint_model_options>();
  CLI::App* command = app->add_subcommand("eval", "Measures perplexity, and which neurons were active and predicted");
  command->add_option("-m,--model", options->path, "Model file")->required();
  command->add_option("-f,--file", options->text_file, "Text")->required();
  AddModelOptions(command, given.get());
  // --window is the evaluation's here; the cache's is not needed to measure quality.
  command->remove_option(command->get_option("--window"));
  command->add_option("--window", options->window, "Tokens per window")
      ->check(CLI::Range(1U, 1U << 20))
      ->capture_default_str();
  command->add_option("--windows-max", options->windows_max, "At most so many windows; 0: all")->capture_default_str();
  command->add_flag("--json", options->json, "Print one JSON object");
  command->callback([options, given, action] {
    *action = [options, given] {
      const Result<ModelOptions> model = ModelOptionsFromC(given.get());
      return Outcome{model.ok() ? Eval(*options, model.value()).message() : model.status().message()};
    };
  });
}

}  // namespace glint
