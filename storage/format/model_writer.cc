#include "storage/format/model_writer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "glint/base/text.h"
#include "storage/flash/flash_file.h"
#include "storage/format/atomic_file.h"
#include "storage/format/checksum.h"

namespace glint {
namespace {

constexpr uint64_t kArrayAlignment = 64;
constexpr std::string_view kWriter = "glint " GLINT_VERSION;

// Cuts what is appended to a file into granules and keeps the checksum of each.
class GranuleSink {
 public:
  explicit GranuleSink(AtomicFile* file) : file_(file) { granule_.reserve(kGranuleBytesMax); }

  Status Append(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const size_t count = std::min<size_t>(bytes.size(), kGranuleBytesMax - granule_.size());
      granule_.insert(granule_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count));
      bytes = bytes.subspan(count);
      if (granule_.size() == kGranuleBytesMax) GLINT_RETURN_IF_ERROR(EndGranule());
    }
    return Status::Ok();
  }

  Result<std::vector<uint64_t>> Finish() {
    if (!granule_.empty()) GLINT_RETURN_IF_ERROR(EndGranule());
    return std::move(checksums_);
  }

 private:
  Status EndGranule() {
    checksums_.push_back(Checksum(granule_));
    GLINT_RETURN_IF_ERROR(file_->Append(granule_));
    granule_.clear();
    return Status::Ok();
  }

  AtomicFile* file_;
  std::vector<std::byte> granule_;
  std::vector<uint64_t> checksums_;
};

Status Prefixed(const std::string& prefix, const Status& status) {
  return {status.code(), Concat(prefix, ": ", status.message())};
}

// The table that holds the arrays of a tensor: its layer's, or the model's own.
uint32_t TableOf(std::string_view name) {
  if (!name.starts_with("blk.")) return 0;
  uint32_t layer = 0;
  for (const char c : name.substr(4, name.find('.', 4) - 4)) layer = layer * 10 + static_cast<uint32_t>(c - '0');
  return 1 + layer;
}

// A slip of the hand (`-o checkpoint/model.safetensors`) must not cost what cannot be made again.
Status CheckReplaceable(const std::string& path) {
  const Result<FlashFile> target = FlashFile::Open(path, DirectIo::kOff, {});
  if (target.status().code() == StatusCode::kNotFound) return Status::Ok();
  GLINT_RETURN_IF_ERROR(target.status());
  std::array<std::byte, kHeaderBytes> memory;
  const auto start = std::span(memory).first(std::min<uint64_t>(memory.size(), target->bytes()));
  GLINT_RETURN_IF_ERROR(target->ReadBuffered(0, start));
  if (start.empty() || HasModelMagic(start)) return Status::Ok();
  return InvalidArgument(Concat("cannot write ", Quote(path),
                                ": there is a file that is no model file, and only model files are replaced; ",
                                "remove it or choose another name"));
}

}  // namespace

struct ModelWriter::State {
  State(AtomicFile target, const ModelConfig& config, WeightType type)
      : file(std::move(target)), specs(TensorSpecs(config)), tables(config.layer_count + 1), ffn(config.layer_count) {
    directory.writer = kWriter;
    directory.config = config;
    directory.type = type;
  }

  // Runs one write. After a failure every call returns it: half a tensor is in the file then.
  template <typename Write>
  Status Guard(Write write) {
    if (failed.ok()) failed = write();
    return failed;
  }

  Result<const TensorSpec*> Claim(const std::string& name, bool is_vector) {
    const auto found = std::find_if(specs.begin(), specs.end(), [&](const TensorSpec& s) { return s.name == name; });
    if (found == specs.end() || found->is_vector != is_vector) {
      return InvalidArgument(
          Concat(Where(name), ": the config asks for no ", is_vector ? "vector" : "matrix", " of that name"));
    }
    if (!written.insert(name).second) return InvalidArgument(Concat(Where(name), ": written twice"));
    return &*found;
  }

  std::string Where(std::string_view tensor) const { return Concat(Quote(file.path()), ": tensor ", Quote(tensor)); }

  template <typename T>
  ArrayRef AddArray(uint32_t table, std::span<const T> values) {
    std::vector<std::byte>& bytes = tables[table];
    bytes.resize(AlignUp(bytes.size(), kArrayAlignment));
    const ArrayRef ref = {table, bytes.size(), values.size()};
    const std::span<const std::byte> added = std::as_bytes(values);
    bytes.insert(bytes.end(), added.begin(), added.end());
    return ref;
  }

  Result<Section> WriteSection(std::span<const std::byte> bytes) {
    GLINT_RETURN_IF_ERROR(file.PadTo(kExtentAlignment));
    Section section;
    section.extent = {file.bytes(), bytes.size()};
    GranuleSink sink(&file);
    GLINT_RETURN_IF_ERROR(sink.Append(bytes));
    GLINT_ASSIGN_OR_RETURN(section.checksums, sink.Finish());
    return section;
  }

  Status WriteVector(const std::string& name, std::span<const float> values);
  Status WriteMatrix(const std::string& name, WeightType type, uint32_t rows, uint32_t columns,
                     const RowSource& source);
  Status WriteFfn(uint32_t layer, const NeuronSource& source);
  Status WriteTokenizer(std::span<const std::byte> section);
  Status CheckComplete() const;
  Status WriteDirectory();

  AtomicFile file;
  const std::vector<TensorSpec> specs;
  std::set<std::string> written;
  std::vector<std::vector<std::byte>> tables;
  std::vector<std::optional<FfnEntry>> ffn;
  ModelDirectory directory;  // without tables and ffn until the end
  Status failed;
};

Status ModelWriter::State::WriteVector(const std::string& name, std::span<const float> values) {
  GLINT_ASSIGN_OR_RETURN(const TensorSpec* spec, Claim(name, /*is_vector=*/true));
  if (values.size() != spec->columns) {
    return InvalidArgument(Concat(Where(name), ": wanted ", spec->columns, " elements, got ", values.size()));
  }
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) {
      return InvalidArgument(Concat(Where(name), ": element ", i, ": wanted a finite number, got ", values[i]));
    }
  }
  directory.vectors.push_back({name, AddArray(TableOf(name), values)});
  return Status::Ok();
}

Status ModelWriter::State::WriteMatrix(const std::string& name, WeightType type, uint32_t rows, uint32_t columns,
                                       const RowSource& source) {
  GLINT_ASSIGN_OR_RETURN(const TensorSpec* spec, Claim(name, /*is_vector=*/false));
  if (rows != spec->rows || columns != spec->columns) {
    return InvalidArgument(
        Concat(Where(name), ": wanted ", spec->rows, " x ", spec->columns, ", got ", rows, " x ", columns));
  }
  GLINT_RETURN_IF_ERROR(file.PadTo(kExtentAlignment));
  MatrixEntry entry = {.name = name, .type = type, .rows = rows, .columns = columns};
  entry.extent = {file.bytes(), uint64_t{rows} * RowStride(type, columns)};
  std::vector<float> values(columns);
  std::vector<std::byte> row(RowStride(type, columns));
  GranuleSink sink(&file);
  for (uint32_t i = 0; i < rows; ++i) {
    GLINT_RETURN_IF_ERROR(source(i, values));
    if (Status encoded = EncodeRow(type, values, row); !encoded.ok()) {
      return Prefixed(Concat(Where(name), ": row ", i), encoded);
    }
    GLINT_RETURN_IF_ERROR(sink.Append(row));
  }
  GLINT_ASSIGN_OR_RETURN(const std::vector<uint64_t> checksums, sink.Finish());
  entry.checksums = AddArray(TableOf(name), std::span(checksums));
  directory.matrices.push_back(std::move(entry));
  return Status::Ok();
}

Status ModelWriter::State::WriteFfn(uint32_t layer, const NeuronSource& source) {
  const ModelConfig& config = directory.config;
  const std::string block = Concat("blk.", layer, ".ffn");
  if (layer >= config.layer_count) {
    return InvalidArgument(Concat(Where(block), ": wanted a layer below ", config.layer_count));
  }
  if (ffn[layer]) return InvalidArgument(Concat(Where(block), ": written twice"));
  const WeightType type = directory.type;
  const BundleLayout layout = BundleLayout::Choose(config.ffn_size, config.hidden_size, type, config.gated);
  GLINT_RETURN_IF_ERROR(file.PadTo(kExtentAlignment));
  FfnEntry entry = {.layout = layout, .extent = {file.bytes(), layout.extent_bytes()}};

  std::vector<float> values(3 * size_t{config.hidden_size});
  const std::span<float> gate = std::span(values).first(config.gated ? config.hidden_size : 0);
  const std::span<float> up = std::span(values).subspan(config.hidden_size, config.hidden_size);
  const std::span<float> down = std::span(values).subspan(2 * size_t{config.hidden_size});
  std::vector<std::byte> memory(layout.PartBytes(BundlePart::kWhole));
  std::vector<uint64_t> first_checksums;
  std::vector<uint64_t> rest_checksums;
  for (BundleIndex bundle{0}; bundle.value < layout.bundle_count(); ++bundle.value) {
    std::fill(memory.begin(), memory.end(), std::byte{0});
    const auto whole = std::span(memory).first(layout.ExtentOf(bundle, BundlePart::kWhole).bytes);
    const auto first = whole.first(layout.ExtentOf(bundle, BundlePart::kFirst).bytes);
    const auto rest = whole.subspan(first.size());
    for (uint32_t lane = 0; lane < layout.NeuronsIn(bundle); ++lane) {
      const NeuronId neuron(layout.FirstNeuron(bundle).value + lane);
      GLINT_RETURN_IF_ERROR(source(neuron, gate, up, down));
      const auto encode = [&](const char* role, std::span<const float> row, std::span<std::byte> into, uint64_t at) {
        const Status encoded = EncodeRow(type, row, into.subspan(at, layout.row_stride()));
        return encoded.ok()
                   ? encoded
                   : Prefixed(Concat(Where(Concat(block, role, ".weight")), ": neuron ", neuron.value), encoded);
      };
      if (config.gated) GLINT_RETURN_IF_ERROR(encode("_gate", gate, first, layout.FirstRowOffset(lane)));
      GLINT_RETURN_IF_ERROR(config.gated ? encode("_up", up, rest, layout.UpRowOffsetInRest(lane))
                                         : encode("_up", up, first, layout.FirstRowOffset(lane)));
      GLINT_RETURN_IF_ERROR(encode("_down", down, rest, layout.DownRowOffsetInRest(bundle, lane)));
    }
    first_checksums.push_back(Checksum(first));
    rest_checksums.push_back(Checksum(rest));
    GLINT_RETURN_IF_ERROR(file.Append(whole));
  }
  entry.first_checksums = AddArray(1 + layer, std::span<const uint64_t>(first_checksums));
  entry.rest_checksums = AddArray(1 + layer, std::span<const uint64_t>(rest_checksums));
  ffn[layer] = entry;
  return Status::Ok();
}

Status ModelWriter::State::WriteTokenizer(std::span<const std::byte> section) {
  const std::string where = Concat(Quote(file.path()), ": tokenizer section");
  if (directory.tokenizer.extent.bytes != 0) return InvalidArgument(where + ": written twice");
  if (section.empty() || section.size() > kTokenizerBytesMax) {
    return InvalidArgument(Concat(where, ": wanted 1 to ", kTokenizerBytesMax, " bytes, got ", section.size()));
  }
  GLINT_ASSIGN_OR_RETURN(directory.tokenizer, WriteSection(section));
  return Status::Ok();
}

Status ModelWriter::State::CheckComplete() const {
  for (const TensorSpec& spec : specs) {
    if (!spec.optional && !written.contains(spec.name)) return InvalidArgument(Where(spec.name) + " is missing");
  }
  for (size_t layer = 0; layer < ffn.size(); ++layer) {
    if (!ffn[layer]) return InvalidArgument(Where(Concat("blk.", layer, ".ffn_up.weight")) + " is missing");
  }
  return Status::Ok();
}

Status ModelWriter::State::WriteDirectory() {
  GLINT_RETURN_IF_ERROR(CheckComplete());
  for (const std::vector<std::byte>& table : tables) {
    GLINT_ASSIGN_OR_RETURN(Section section, WriteSection(table));
    directory.tables.push_back(std::move(section));
  }
  for (std::optional<FfnEntry>& entry : ffn) directory.ffn.push_back(*entry);

  const std::string json = SerializeDirectory(directory);
  GLINT_RETURN_IF_ERROR(file.PadTo(kExtentAlignment));
  Header header;
  header.directory = {file.bytes(), json.size()};
  header.directory_checksum = Checksum(std::as_bytes(std::span(json)));
  GLINT_RETURN_IF_ERROR(file.Append(std::as_bytes(std::span(json))));
  GLINT_RETURN_IF_ERROR(file.PadTo(kExtentAlignment));
  header.file_bytes = file.bytes();
  // What is written must be what would be read; this also refuses a directory that is too long.
  GLINT_ASSIGN_OR_RETURN(directory, ParseDirectory(json, header, file.path()));
  GLINT_RETURN_IF_ERROR(file.Overwrite(0, SerializeHeader(header)));
  return file.Commit();
}

ModelWriter::ModelWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}
ModelWriter::ModelWriter(ModelWriter&&) noexcept = default;
ModelWriter::~ModelWriter() = default;

Result<ModelWriter> ModelWriter::Create(const std::string& path, const ModelConfig& config, WeightType type) {
  GLINT_RETURN_IF_ERROR(ValidateModelConfig(config));
  GLINT_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  GLINT_RETURN_IF_ERROR(CheckReplaceable(path));
  // The header's place; it is written last, so that only a whole file has one.
  GLINT_RETURN_IF_ERROR(file.Append(std::array<std::byte, kHeaderBytes>{}));
  return ModelWriter(std::make_unique<State>(std::move(file), config, type));
}

Status ModelWriter::WriteVector(const std::string& name, std::span<const float> values) {
  return state_->Guard([&] { return state_->WriteVector(name, values); });
}

Status ModelWriter::WriteMatrix(const std::string& name, WeightType type, uint32_t rows, uint32_t columns,
                                const RowSource& source) {
  return state_->Guard([&] { return state_->WriteMatrix(name, type, rows, columns, source); });
}

Status ModelWriter::WriteFfn(LayerIndex layer, const NeuronSource& source) {
  return state_->Guard([&] { return state_->WriteFfn(layer.value, source); });
}

Status ModelWriter::WriteTokenizer(std::span<const std::byte> section) {
  return state_->Guard([&] { return state_->WriteTokenizer(section); });
}

Result<ModelDirectory> ModelWriter::Finish() {
  GLINT_RETURN_IF_ERROR(state_->Guard([&] { return state_->WriteDirectory(); }));
  state_->failed = InvalidArgument(Concat(Quote(state_->file.path()), ": the file is finished"));
  return state_->directory;
}

}  // namespace glint
