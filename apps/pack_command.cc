#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/command.h"
#include "apps/print_json.h"
#include "apps/progress_bar.h"
#include "glint/base/text.h"
#include "glint/base/units.h"
#include "storage/checkpoint/hf_config.h"
#include "storage/checkpoint/opt_packer.h"
#include "tokenizer/tokenizer.h"

namespace glint {

namespace {

struct Options {
  std::string checkpoint;
  std::string output;
  std::string type = "f16";
  bool json = false;
};

// Set by Ctrl-C and by what else asks a process to end; the packer then does, and leaves nothing behind.
std::atomic<bool> interrupted = false;
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler sets it");

void EndWhereAsked() {
  for (const int each : {SIGINT, SIGTERM, SIGHUP}) {
    // What is ignored (by nohup, by a shell for what runs behind it) stays so.
    if (std::signal(each, [](int) { interrupted = true; }) == SIG_IGN) std::signal(each, SIG_IGN);
  }
}

Status Pack(const Options& options) {
  // What is no OPT checkpoint is told as that, before anything that its tokenizer may have.
  GLINT_RETURN_IF_ERROR(ReadHfConfig(options.checkpoint).status());
  bool has_tokenizer = false;
  GLINT_ASSIGN_OR_RETURN(const std::vector<std::byte> tokenizer,
                         BuildTokenizerFromFolder(options.checkpoint, &has_tokenizer));
  ProgressBar bar("packing");
  EndWhereAsked();
  GLINT_ASSIGN_OR_RETURN(
      const ModelDirectory directory,
      PackOpt(options.checkpoint, options.output,
              {.type = *WeightTypeFromName(options.type),
               .tokenizer_section = tokenizer,
               .progress = [&](uint64_t done, uint64_t total) { bar.Update(done, total); },
               .log = [](std::string_view line) { std::fprintf(stderr, "%s\n", std::string(line).c_str()); },
               .cancel = &interrupted}));
  if (!has_tokenizer) {
    std::fprintf(stderr, "warning: %s has no tokenizer; the model will run on --token-ids alone\n",
                 options.checkpoint.c_str());
  }
  if (options.json) {
    const nlohmann::ordered_json report = {{"model_file", options.output},
                                           {"type", options.type},
                                           {"has_tokenizer", has_tokenizer},
                                           {"file_bytes", directory.file_bytes},
                                           {"model_hash", Hex64(directory.hash)}};
    PrintJson(report);
  } else {
    std::printf("%s: %s, %u layers of %u neurons, %s\n", options.output.c_str(), directory.config.name.c_str(),
                directory.config.layer_count, directory.config.ffn_size, FormatBytes(directory.file_bytes).c_str());
  }
  return Status::Ok();
}

class PackCommand final : public Command {
 public:
  explicit PackCommand(CLI::App* app);
  Outcome Run() override { return {Pack(options_).message()}; }

 private:
  Options options_;
};

PackCommand::PackCommand(CLI::App* app) {
  CLI::App* command = app->add_subcommand("pack", "Makes a model file from a Hugging Face folder");
  command->add_option("CHECKPOINT", options_.checkpoint, "Folder with config.json and safetensors (OPT)")->required();
  command->add_option("-o,--output", options_.output, "Model file to write")->required();
  command->add_option("--type", options_.type, "How weights are stored (default: f16)")
      ->check(CLI::IsMember({"f16", "q8_0", "q4_0"}));
  command->add_flag("--json", options_.json, "Print one JSON object");
}

}  // namespace

std::unique_ptr<Command> AddPackCommand(CLI::App* app) { return std::make_unique<PackCommand>(app); }

}  // namespace glint
