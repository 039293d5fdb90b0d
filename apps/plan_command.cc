#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>

#include "apps/command.h"
#include "apps/options.h"
#include "apps/print_json.h"
#include "glint/base/text.h"
#include "glint/base/units.h"
#include "runtime/c_api_options.h"
#include "runtime/model.h"
#include "storage/format/model_file.h"

namespace glint {

namespace {

struct Options {
  glint_model_options model;
  std::string path;
  bool json = false;
};

// Bytes per second of reading bundles one after the other, from at most 32 MiB of the first layers. 0 where nothing can
// be told.
Result<double> ProbeBandwidth(ModelFile* file) {
  constexpr uint64_t kReadBytes = 256 * kKiB;
  constexpr uint64_t kReadsMax = 128;
  constexpr uint64_t kBuffers = 16;
  GLINT_ASSIGN_OR_RETURN(const AlignedBuffer buffer, AlignedBuffer::Allocate(kReadBytes * kBuffers));
  std::vector<FlashRead> reads;
  for (const FfnEntry& ffn : file->directory().ffn) {
    for (uint64_t at = 0; at + kReadBytes <= ffn.extent.bytes && reads.size() < kReadsMax; at += kReadBytes) {
      reads.push_back({.offset = ffn.extent.offset + at,
                       .into = buffer.data() + reads.size() % kBuffers * kReadBytes,
                       .bytes = static_cast<uint32_t>(kReadBytes)});
    }
  }
  if (reads.empty()) return 0.0;
  const auto begin = std::chrono::steady_clock::now();
  // Buffers are shared in turns: reads of one turn do not overlap.
  for (size_t i = 0; i < reads.size(); i += kBuffers) {
    GLINT_RETURN_IF_ERROR(file->reader().ReadAll(std::span(reads).subspan(i, std::min(kBuffers, reads.size() - i))));
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return static_cast<double>(reads.size() * kReadBytes) / seconds;
}

Status Plan(const Options& options) {
  GLINT_ASSIGN_OR_RETURN(const ModelOptions model, ModelOptionsFromC(&options.model));
  GLINT_ASSIGN_OR_RETURN(ModelFile file, ModelFile::Open(options.path, {.io = model.io}));
  GLINT_ASSIGN_OR_RETURN(const MemoryRequest request,
                         ResolveRequest(file.directory(), model, file.reader().held_bytes()));
  GLINT_ASSIGN_OR_RETURN(const MemoryPlan plan, PlanMemory(file.directory(), request));
  const TrafficEstimate traffic = EstimateTraffic(file.directory(), request, plan);
  GLINT_ASSIGN_OR_RETURN(const double bandwidth, ProbeBandwidth(&file));
  const auto flash_ms = [&](uint64_t bytes) {
    return bandwidth > 0 ? static_cast<double>(bytes) / bandwidth * 1e3 : 0.0;
  };
  const MemoryShares& shares = plan.shares;
  const uint64_t slots = std::accumulate(plan.slots_per_layer.begin(), plan.slots_per_layer.end(), uint64_t{0});
  uint64_t bundles = 0;
  for (const FfnEntry& ffn : file.directory().ffn) bundles += ffn.layout.bundle_count();
  const uint64_t first_pinned = std::accumulate(plan.first_pinned.begin(), plan.first_pinned.end(), uint64_t{0});
  if (options.json) {
    const nlohmann::ordered_json report = {{"budget_bytes", request.budget_bytes},
                                           {"least_budget_bytes", plan.least_budget_bytes},
                                           {"model_file_bytes", file.directory().file_bytes},
                                           {"synthetic", file.directory().config.synthetic},
                                           {"context", request.context},
                                           {"batch", plan.batch_max},
                                           {"shares",
                                            {{"pinned_bytes", shares.pinned},
                                             {"predictor_bytes", shares.predictor},
                                             {"kv_bytes", shares.kv},
                                             {"slots_bytes", shares.slots},
                                             {"staging_bytes", shares.staging},
                                             {"scratch_bytes", shares.scratch},
                                             {"kernel_bytes", shares.kernel}}},
                                           {"held_bytes", shares.Total()},
                                           {"bundles", bundles},
                                           {"slots", slots},
                                           {"first_pinned_bundles", first_pinned},
                                           {"flash_bytes_per_token_expected", traffic.bytes_per_token_expected},
                                           {"flash_bytes_per_token_max", traffic.bytes_per_token_max},
                                           {"flash_bytes_per_second", bandwidth},
                                           {"flash_ms_per_token_expected", flash_ms(traffic.bytes_per_token_expected)},
                                           {"flash_ms_per_token_max", flash_ms(traffic.bytes_per_token_max)}};
    PrintJson(report);
    return Status::Ok();
  }
  const auto row = [](const char* name, uint64_t bytes, const std::string& note) {
    std::printf("  %-10s %14llu  %9s  %s\n", name, static_cast<unsigned long long>(bytes), FormatBytes(bytes).c_str(),
                note.c_str());
  };
  std::printf("%s, %s%s, context %u\n", options.path.c_str(), FormatBytes(file.directory().file_bytes).c_str(),
              file.directory().config.synthetic ? ", synthetic" : "", request.context);
  row("budget", request.budget_bytes, "");
  row("pinned", shares.pinned,
      request.rows_known_first ? Concat("first rows of ", first_pinned, " of ", bundles, " bundles among them") : "");
  row("predictor", shares.predictor, "");
  row("kv", shares.kv, "");
  row("slots", shares.slots, Concat(slots, " slots for ", bundles, " bundles"));
  row("staging", shares.staging, "");
  row("scratch", shares.scratch, Concat("batches of ", plan.batch_max, " tokens"));
  row("kernel", shares.kernel, "");
  row("held", shares.Total(), "");
  row("least", plan.least_budget_bytes, "the least budget for this context");
  const char* assumption = file.directory().config.activity > 0 || !request.rows_known_first
                               ? "at the file's activity"
                               : "the file states no activity, so all neurons are taken as active";
  std::printf("flash per token: %s expected (%s), %s at most; %.1f and %.1f ms at %s/s, probed just now\n",
              FormatBytes(traffic.bytes_per_token_expected).c_str(), assumption,
              FormatBytes(traffic.bytes_per_token_max).c_str(), flash_ms(traffic.bytes_per_token_expected),
              flash_ms(traffic.bytes_per_token_max), FormatBytes(static_cast<uint64_t>(bandwidth)).c_str());
  return Status::Ok();
}

class PlanCommand final : public Command {
 public:
  explicit PlanCommand(CLI::App* app);
  Outcome Run() override { return {Plan(options_).message()}; }

 private:
  Options options_;
};

PlanCommand::PlanCommand(CLI::App* app) {
  CLI::App* command = app->add_subcommand("plan", "Shows how a budget would be used, without loading the model");
  command->add_option("-m,--model", options_.path, "Model file")->required();
  AddModelOptions(command, &options_.model);
  command->add_flag("--json", options_.json, "Print one JSON object");
}

}  // namespace

std::unique_ptr<Command> AddPlanCommand(CLI::App* app) { return std::make_unique<PlanCommand>(app); }

}  // namespace glint
