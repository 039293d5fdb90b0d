#include "apps/options.h"

#include <cstdio>
#include <fstream>
#include <sstream>
#include <utility>

#include "glint/base/text.h"
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

namespace {

// CLI11's own checks of the same say what they want in terms of their implementation.
CLI::Validator AtLeastOne() {
  const auto check = [](std::string& text) -> std::string {
    const bool is_zero = !text.empty() && text.find_first_not_of('0') == text.npos;
    return is_zero ? Concat("wanted at least 1, got ", text) : "";
  };
  return {check, ""};
}

// Replaces a name by its value; values themselves are not names.
CLI::Validator OneOf(const std::vector<std::pair<std::string, int>>& values) {
  const auto replace = [values](std::string& text) -> std::string {
    std::string names;
    for (const auto& [name, value] : values) {
      if (text == name) {
        text = std::to_string(value);
        return {};
      }
      names += (names.empty() ? "" : ", ") + name;
    }
    return Concat("wanted one of ", names, "; got ", Quote(text));
  };
  return {replace, ""};
}

// Gives the options of `app` that are still empty the values that the file has for them. Returns what is wrong, or
// nothing. REQUIRES: `app` is parsing, so that it checks what it is given here too.
std::string ApplyConfig(CLI::App* app, const std::string& file) {
  constexpr size_t kConfigBytesMax = 64 * kKiB;
  std::string text(kConfigBytesMax + 1, '\0');
  std::ifstream stream(file, std::ios::binary);
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!stream.is_open() || stream.bad()) return Concat("cannot read ", Quote(file));
  text.resize(static_cast<size_t>(stream.gcount()));
  if (text.size() > kConfigBytesMax) return Concat(Quote(file), ": wanted at most ", kConfigBytesMax, " bytes");
  try {
    CLI::ConfigTOML format;
    std::istringstream lines(text);
    for (const CLI::ConfigItem& item : format.from_config(lines)) {
      CLI::Option* option = item.parents.empty() ? app->get_option_no_throw("--" + item.name) : nullptr;
      if (option == nullptr || !option->get_configurable()) {
        return Concat(Quote(file), ": ", Quote(item.fullname()), " is no option of `glint ", app->get_name(), "`");
      }
      if (!option->empty()) continue;  // the command line goes first
      if (option->get_expected_min() == 0) {
        option->add_result(option->get_flag_value(item.name, format.to_flag(item)));
      } else {
        option->add_result(item.inputs);
      }
      option->run_callback();
    }
  } catch (const CLI::Error& error) {
    return error.what();
  }
  return {};
}

}  // namespace

void AddConfigOption(CLI::App* app) {
  const auto apply = [app](std::string& file) { return ApplyConfig(app, file); };
  app->add_option("--config",
                  "Read options from a TOML or INI file, as `budget = \"512MB\"`; the command line goes first")
      ->check(CLI::ExistingFile)  // an empty one is read where this is a folder
      ->check(CLI::Validator(apply, ""))
      ->type_name("FILE")
      ->configurable(false);
}

void AddModelOptions(CLI::App* app, glint_model_options* options) {
  glint_model_options_init(options);
  options->log = [](void*, const char* line) { std::fprintf(stderr, "%s\n", line); };
  AddSizeOption(app, "--budget", &options->budget_bytes,
                "Most bytes that may be held, as 512MB or 4GiB (default: 75% of the available memory, or the cgroup's "
                "limit less 64 MiB)");
  app->add_option("-c,--context", options->context_max,
                  "Positions of context (default: the smaller of the model's and 4096)")
      ->check(AtLeastOne());
  app->add_option("--predictor", options->predictor,
                  "How the active neurons are found; auto is lossless: exact where the model has exact zeros, else all")
      ->transform(
          OneOf({{"auto", GLINT_PREDICTOR_AUTO}, {"exact", GLINT_PREDICTOR_EXACT}, {"all", GLINT_PREDICTOR_ALL}}))
      ->option_text("auto|exact|all");
  app->add_option(
      "--window", options->window_tokens,
      "Neurons that the last so many tokens used keep their slots; 0: no cache (default: as many as slots go)");
  app->add_option("--io", options->io, "Reader (default: auto, io_uring where the kernel allows it)")
      ->transform(OneOf({{"auto", GLINT_IO_AUTO}, {"uring", GLINT_IO_URING}, {"pread", GLINT_IO_PREAD}}))
      ->option_text("auto|uring|pread");
  app->add_option("-t,--threads", options->threads, "Compute threads (default: one per core)")->check(AtLeastOne());
  app->add_option("--batch", options->batch_max, "Tokens of the prompt computed together (default: 64)")
      ->check(AtLeastOne());
  app->add_option("--slots", options->slots_max, "At most so many slots over all layers; for experiments");
  const auto to_gap_bytes = [](std::string& text) -> std::string {
    if (text == "on" || text == "off") {
      text = std::to_string(text == "on" ? GLINT_AUTO : 0);
      return {};
    }
    const Result<uint64_t> bytes = ParseBytes(text);
    if (!bytes.ok() || bytes.value() >= GLINT_AUTO) return Concat("wanted on, off or a size; got ", Quote(text));
    text = std::to_string(bytes.value());
    return {};
  };
  app->add_option("--gaps", options->gap_bytes_max,
                  "Most unwanted bytes that are read to join two reads; for experiments (default: on, 8 KiB)")
      ->transform(CLI::Validator(to_gap_bytes, ""))
      ->option_text("on|off|SIZE");
}

}  // namespace glint
