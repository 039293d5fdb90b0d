#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/command.h"
#include "apps/print_json.h"
#include "apps/progress_bar.h"
#include "glint/base/text.h"
#include "glint/base/units.h"
#include "storage/checkpoint/synthetic.h"
#include "tokenizer/tokenizer.h"

namespace glint {

namespace {

struct Options {
  SyntheticOptions model;
  std::string output;
  std::string type = "f16";
  bool json = false;
};

Status Synthesise(const Options& options) {
  SyntheticOptions model = options.model;
  model.type = *WeightTypeFromName(options.type);
  ProgressBar bar("writing");
  GLINT_ASSIGN_OR_RETURN(const ModelDirectory directory,
                         WriteSynthetic(model, BuildByteTokenizer(), options.output,
                                        [&](uint64_t done, uint64_t total) { bar.Update(done, total); }));
  if (options.json) {
    const nlohmann::ordered_json report = {{"model_file", options.output},
                                           {"synthetic", true},
                                           {"type", options.type},
                                           {"activity", model.activity},
                                           {"file_bytes", directory.file_bytes},
                                           {"model_hash", Hex64(directory.hash)}};
    PrintJson(report);
  } else {
    std::printf("%s: synthetic (random weights), %u layers of %u neurons, %.1f%% active, %s\n", options.output.c_str(),
                model.layer_count, model.ffn_size, model.activity * 100, FormatBytes(directory.file_bytes).c_str());
  }
  return Status::Ok();
}

class SynthCommand final : public Command {
 public:
  explicit SynthCommand(CLI::App* app);
  Outcome Run() override { return {Synthesise(options_).message()}; }

 private:
  Options options_;
};

SynthCommand::SynthCommand(CLI::App* app) {
  SyntheticOptions& model = options_.model;
  CLI::App* command =
      app->add_subcommand("synth", "Makes a synthetic model file: random weights, for memory and I/O tests at size");
  command->add_option("-o,--output", options_.output, "Model file to write")->required();
  command->add_option("--layers", model.layer_count)->capture_default_str();
  command->add_option("--hidden", model.hidden_size, "Width of the residual stream")->capture_default_str();
  command->add_option("--ffn", model.ffn_size, "Neurons per layer")->capture_default_str();
  command->add_option("--heads", model.head_count)->capture_default_str();
  command->add_option("--vocab", model.vocab_size, "Rows of the embedding; the byte tokenizer uses 260")
      ->capture_default_str();
  command->add_option("--context", model.context_max, "Positions")->capture_default_str();
  command->add_option("--type", options_.type, "How weights are stored")
      ->check(CLI::IsMember({"f16", "q8_0", "q4_0"}))
      ->capture_default_str();
  command->add_option("--activity", model.activity, "Mean share of neurons that are active for a token")
      ->capture_default_str();
  command->add_option("--seed", model.seed)->capture_default_str();
  command->add_option("--name", model.name)->capture_default_str();
  command->add_flag("--json", options_.json, "Print one JSON object");
}

}  // namespace

std::unique_ptr<Command> AddSynthCommand(CLI::App* app) { return std::make_unique<SynthCommand>(app); }

}  // namespace glint
