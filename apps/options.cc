#include "apps/options.h"

#include <cstdio>
#include <map>

#include "glint/base/units.h"

namespace glint {

CLI::Option* AddSizeOption(CLI::App* app, const std::string& names, uint64_t* bytes, const std::string& description) {
  const auto to_plain_bytes = [](std::string& text) -> std::string {
    const Result<uint64_t> parsed = ParseBytes(text);
    if (!parsed.ok()) return parsed.status().message();
    text = std::to_string(parsed.value());
    return {};
  };
  return app->add_option(names, *bytes, description)->transform(CLI::Validator(to_plain_bytes, ""))->type_name("SIZE");
}

void AddModelOptions(CLI::App* app, glint_model_options* options) {
  glint_model_options_init(options);
  options->log = [](void*, const char* line) { std::fprintf(stderr, "%s\n", line); };
  AddSizeOption(app, "--budget", &options->budget_bytes,
                "Most bytes that may be held, as 512MB or 4GiB (default: 75% of the available memory, or the cgroup's "
                "limit less 64 MiB)");
  app->add_option("-c,--context", options->context_max,
                  "Positions of context (default: the smaller of the model's and 4096)")
      ->check(CLI::PositiveNumber);
  static const std::map<std::string, glint_predictor> kPredictors = {
      {"auto", GLINT_PREDICTOR_AUTO}, {"exact", GLINT_PREDICTOR_EXACT}, {"all", GLINT_PREDICTOR_ALL}};
  app->add_option("--predictor", options->predictor,
                  "How the active neurons are found; auto is lossless: exact where the model has exact zeros, else all")
      ->transform(CLI::CheckedTransformer(kPredictors))
      ->option_text("auto|exact|all");
  app->add_option("--window", options->window_tokens,
                  "Neurons that the last so many tokens used keep their slots; 0: no cache (default: 5)");
  static const std::map<std::string, glint_io> kEngines = {
      {"auto", GLINT_IO_AUTO}, {"uring", GLINT_IO_URING}, {"pread", GLINT_IO_PREAD}};
  app->add_option("--io", options->io, "Reader (default: auto, io_uring where the kernel allows it)")
      ->transform(CLI::CheckedTransformer(kEngines))
      ->option_text("auto|uring|pread");
  app->add_option("-t,--threads", options->threads, "Compute threads (default: one per core)")
      ->check(CLI::PositiveNumber);
  app->add_option("--batch", options->batch_max, "Tokens of the prompt computed together (default: 64)")
      ->check(CLI::PositiveNumber);
  app->add_option("--slots", options->slots_max, "At most so many slots over all layers; for experiments");
  app->add_option_function<std::string>(
         "--gaps", [options](const std::string& value) { options->gap_bytes_max = value == "off" ? 0 : GLINT_AUTO; },
         "Whether reads may be joined across unwanted bytes; for experiments")
      ->check(CLI::IsMember({"on", "off"}))
      ->option_text("on|off");
}

}  // namespace glint
