#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/command.h"
#include "apps/print_json.h"
#include "glint/base/text.h"
#include "glint/base/units.h"
#include "storage/checkpoint/hf_config.h"
#include "storage/checkpoint/safetensors.h"
#include "storage/format/model_file.h"

namespace glint {

namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::string path;
  bool json = false;
};

Json ConfigJson(const ModelConfig& config) {
  return {{"architecture", config.architecture},
          {"name", config.name},
          {"synthetic", config.synthetic},
          {"layers", config.layer_count},
          {"hidden_size", config.hidden_size},
          {"ffn_size", config.ffn_size},
          {"heads", config.head_count},
          {"vocab_size", config.vocab_size},
          {"embedding_size", config.embedding_size},
          {"context_max", config.context_max},
          {"norm_before", config.norm_before},
          {"bos_id", config.bos_id},
          {"eos_ids", config.eos_ids},
          {"activity", config.activity}};
}

Json DescribeModelFile(const ModelDirectory& directory) {
  Json matrices = Json::array();
  uint64_t matrix_bytes = 0;
  for (const MatrixEntry& matrix : directory.matrices) {
    matrices.push_back({{"name", matrix.name},
                        {"type", WeightTypeName(matrix.type)},
                        {"rows", matrix.rows},
                        {"columns", matrix.columns},
                        {"offset", matrix.extent.offset},
                        {"bytes", matrix.extent.bytes}});
    matrix_bytes += matrix.extent.bytes;
  }
  uint64_t ffn_bytes = 0;
  for (const FfnEntry& ffn : directory.ffn) ffn_bytes += ffn.extent.bytes;
  uint64_t table_bytes = 0;
  for (const Section& table : directory.tables) table_bytes += table.extent.bytes;
  const BundleLayout& layout = directory.ffn.front().layout;
  return {{"kind", "model file"},
          {"format_version", kFormatVersion},
          {"model_hash", Hex64(directory.hash)},
          {"file_bytes", directory.file_bytes},
          {"type", WeightTypeName(directory.type)},
          {"config", ConfigJson(directory.config)},
          {"ffn_bytes", ffn_bytes},
          {"matrix_bytes", matrix_bytes},
          {"table_bytes", table_bytes},
          {"tokenizer_bytes", directory.tokenizer.extent.bytes},
          {"bundle",
           {{"neurons", layout.neurons_per_bundle()},
            {"bytes", layout.PartBytes(BundlePart::kWhole)},
            {"first_bytes", layout.PartBytes(BundlePart::kFirst)},
            {"rest_bytes", layout.PartBytes(BundlePart::kRest)},
            {"per_layer", layout.bundle_count()}}},
          {"matrices", matrices}};
}

Result<Json> DescribeCheckpoint(const std::string& folder) {
  GLINT_ASSIGN_OR_RETURN(const HfConfig config, ReadHfConfig(folder));
  GLINT_ASSIGN_OR_RETURN(const Safetensors checkpoint, Safetensors::Open(folder));
  Json tensors = Json::array();
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    tensors.push_back(
        {{"name", name}, {"type", tensor.type_name}, {"shape", tensor.shape}, {"bytes", tensor.extent.bytes}});
  }
  return Json{{"kind", "Hugging Face checkpoint"}, {"config", ConfigJson(config.config)}, {"tensors", tensors}};
}

void PrintForPeople(const Json& json, const std::string& indent) {
  for (const auto& [key, value] : json.items()) {
    if (value.is_object()) {
      std::printf("%s%s:\n", indent.c_str(), key.c_str());
      PrintForPeople(value, indent + "  ");
    } else if (value.is_array() && !value.empty() && value.front().is_object()) {
      std::printf("%s%s: %zu\n", indent.c_str(), key.c_str(), value.size());
      for (const Json& row : value) {
        std::string line;
        for (const auto& [name, cell] : row.items()) {
          line +=
              Concat(line.empty() ? "" : "  ", cell.is_string() ? cell.get<std::string>() : name + " " + cell.dump());
        }
        std::printf("%s  %s\n", indent.c_str(), line.c_str());
      }
    } else {
      const bool is_size = key.size() > 6 && key.ends_with("_bytes") && value.is_number_unsigned();
      std::printf("%s%s: %s%s\n", indent.c_str(), key.c_str(),
                  value.is_string() ? value.get<std::string>().c_str() : value.dump().c_str(),
                  is_size ? Concat(" (", FormatBytes(value.get<uint64_t>()), ")").c_str() : "");
    }
  }
}

Status Inspect(const Options& options) {
  Json report;
  if (std::error_code error; std::filesystem::is_directory(options.path, error)) {
    GLINT_ASSIGN_OR_RETURN(report, DescribeCheckpoint(options.path));
  } else {
    GLINT_ASSIGN_OR_RETURN(const ModelFile file, ModelFile::Open(options.path, {}));
    report = DescribeModelFile(file.directory());
  }
  if (options.json) {
    PrintJson(report);
  } else {
    PrintForPeople(report, "");
  }
  return Status::Ok();
}

class InspectCommand final : public Command {
 public:
  explicit InspectCommand(CLI::App* app);
  Outcome Run() override { return {Inspect(options_).message()}; }

 private:
  Options options_;
};

InspectCommand::InspectCommand(CLI::App* app) {
  CLI::App* command = app->add_subcommand("inspect", "Shows what is in a model file or a checkpoint");
  command->add_option("FILE", options_.path, "Model file, or folder of a checkpoint")->required();
  command->add_flag("--json", options_.json, "Print one JSON object");
}

}  // namespace

std::unique_ptr<Command> AddInspectCommand(CLI::App* app) { return std::make_unique<InspectCommand>(app); }

}  // namespace glint
