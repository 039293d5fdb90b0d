#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/command.h"
#include "apps/print_json.h"
#include "apps/progress_bar.h"
#include "glint/base/text.h"
#include "glint/base/units.h"
#include "storage/format/model_file.h"

namespace glint {

namespace {

struct Options {
  std::string file;
  bool json = false;
};

Status Verify(const Options& options) {
  ProgressBar bar("verifying");
  GLINT_ASSIGN_OR_RETURN(
      const VerifyReport report,
      VerifyModelFile(options.file, {}, [&](uint64_t done, uint64_t total) { bar.Update(done, total); }));
  if (options.json) {
    const nlohmann::ordered_json json = {{"file", options.file},
                                         {"ok", report.faults.empty()},
                                         {"bytes_verified", report.bytes_verified},
                                         {"granules_verified", report.granules_verified},
                                         {"faults", report.faults}};
    PrintJson(json);
  } else {
    for (const std::string& fault : report.faults) std::printf("%s\n", fault.c_str());
  }
  if (!report.faults.empty()) return CorruptData(Concat(options.file, ": ", report.faults.size(), " faults"));
  if (!options.json) {
    std::printf("%s: %llu granules, %s, all as written\n", options.file.c_str(),
                static_cast<unsigned long long>(report.granules_verified), FormatBytes(report.bytes_verified).c_str());
  }
  return Status::Ok();
}

class VerifyCommand final : public Command {
 public:
  explicit VerifyCommand(CLI::App* app);
  Outcome Run() override { return {Verify(options_).message()}; }

 private:
  Options options_;
};

VerifyCommand::VerifyCommand(CLI::App* app) {
  CLI::App* command = app->add_subcommand("verify", "Checks every checksum of a model file");
  command->add_option("FILE", options_.file, "Model file")->required();
  command->add_flag("--json", options_.json, "Print one JSON object");
}

}  // namespace

std::unique_ptr<Command> AddVerifyCommand(CLI::App* app) { return std::make_unique<VerifyCommand>(app); }

}  // namespace glint
