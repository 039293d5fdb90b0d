#include "storage/format/model_directory.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "glint/base/text.h"
#include "storage/format/checksum.h"
#include "storage/format/directory_json.h"

namespace glint {
namespace {

constexpr uint64_t kArrayAlignment = 64;

template <typename Entry>
const Entry* Find(const std::vector<Entry>& entries, std::string_view name) {
  const auto found = std::find_if(entries.begin(), entries.end(), [&](const Entry& e) { return e.name == name; });
  return found == entries.end() ? nullptr : &*found;
}

// Checks that what the directory says is true of the file and of the config. Errors begin with `where`.
class DirectoryCheck {
 public:
  DirectoryCheck(const ModelDirectory& directory, const Header& header, std::string_view where)
      : directory_(directory), header_(header), where_(where) {}

  Status Run() {
    GLINT_RETURN_IF_ERROR(CheckSections());
    GLINT_RETURN_IF_ERROR(CheckTensors());
    GLINT_RETURN_IF_ERROR(CheckFfn());
    GLINT_RETURN_IF_ERROR(CheckArraysApart());
    return CheckExtentsCoverFile();
  }

 private:
  template <typename Wanted, typename Got>
  Status Wrong(std::string_view key, const Wanted& wanted, const Got& got) const {
    return CorruptData(Concat(where_, ": ", key, ": wanted ", wanted, ", got ", got));
  }

  Status CheckEqual(std::string_view key, uint64_t wanted, uint64_t got) const {
    return wanted == got ? Status::Ok() : Wrong(key, wanted, got);
  }

  // `bytes` is what the extent must have; its end does not overflow when this is ok.
  Status AddExtent(const std::string& key, const Extent& extent, uint64_t bytes) {
    GLINT_RETURN_IF_ERROR(CheckEqual(key + ": bytes", bytes, extent.bytes));
    if (extent.offset % kExtentAlignment != 0) {
      return Wrong(key + ": offset", Concat("a multiple of ", kExtentAlignment), extent.offset);
    }
    if (extent.offset > header_.file_bytes || extent.bytes > header_.file_bytes - extent.offset) {
      return Wrong(key, Concat("an extent in the file of ", header_.file_bytes, " bytes"),
                   Concat("offset ", extent.offset, " and ", extent.bytes, " bytes"));
    }
    extents_.emplace_back(extent, key);
    return Status::Ok();
  }

  // `count` elements of `element_bytes` inside the table; their end does not overflow when this is ok.
  Status AddArray(const std::string& key, const ArrayRef& ref, uint64_t count, uint64_t element_bytes) {
    GLINT_RETURN_IF_ERROR(CheckEqual(key + ": count", count, ref.count));
    if (ref.table >= directory_.tables.size()) {
      return Wrong(key + ": table", Concat("less than ", directory_.tables.size()), ref.table);
    }
    if (ref.offset % kArrayAlignment != 0) {
      return Wrong(key + ": offset", Concat("a multiple of ", kArrayAlignment), ref.offset);
    }
    const uint64_t table_bytes = directory_.tables[ref.table].extent.bytes;
    if (ref.offset > table_bytes || count > (table_bytes - ref.offset) / element_bytes) {
      return Wrong(key, Concat("an array in table ", ref.table, " of ", table_bytes, " bytes"),
                   Concat("offset ", ref.offset, " and ", ref.count, " elements of ", element_bytes, " bytes"));
    }
    arrays_.push_back({ref.table, {ref.offset, count * element_bytes}, key});
    return Status::Ok();
  }

  Status CheckSection(const std::string& key, const Section& section) {
    GLINT_RETURN_IF_ERROR(AddExtent(key, section.extent, section.extent.bytes));
    return CheckEqual(key + ": checksums", DivideUp(section.extent.bytes, kGranuleBytesMax), section.checksums.size());
  }

  Status CheckSections() {
    if (directory_.tokenizer.extent.bytes != 0) {
      GLINT_RETURN_IF_ERROR(CheckSection("tokenizer", directory_.tokenizer));
      if (directory_.tokenizer.extent.bytes > kTokenizerBytesMax) {
        return Wrong("tokenizer: bytes", Concat("at most ", kTokenizerBytesMax), directory_.tokenizer.extent.bytes);
      }
    }
    GLINT_RETURN_IF_ERROR(
        CheckEqual("tables: count", uint64_t{directory_.config.layer_count} + 1, directory_.tables.size()));
    for (size_t i = 0; i < directory_.tables.size(); ++i) {
      GLINT_RETURN_IF_ERROR(CheckSection(Concat("tables[", i, "]"), directory_.tables[i]));
    }
    return Status::Ok();
  }

  Status CheckTensors() {
    const std::vector<TensorSpec> spec_list = TensorSpecs(directory_.config);
    std::map<std::string_view, const TensorSpec*> specs;  // those that no entry has named yet
    for (const TensorSpec& spec : spec_list) specs.emplace(spec.name, &spec);
    const auto take = [&](const std::string& name, bool is_vector) -> const TensorSpec* {
      const auto found = specs.find(name);
      if (found == specs.end() || found->second->is_vector != is_vector) return nullptr;
      const TensorSpec* spec = found->second;
      specs.erase(found);
      return spec;
    };
    for (const VectorEntry& entry : directory_.vectors) {
      const TensorSpec* spec = take(entry.name, /*is_vector=*/true);
      if (spec == nullptr) return Wrong("vectors", "names that the config asks for, once each", Quote(entry.name));
      GLINT_RETURN_IF_ERROR(AddArray(entry.name, entry.values, spec->columns, sizeof(float)));
    }
    for (const MatrixEntry& entry : directory_.matrices) {
      const TensorSpec* spec = take(entry.name, /*is_vector=*/false);
      if (spec == nullptr) return Wrong("matrices", "names that the config asks for, once each", Quote(entry.name));
      GLINT_RETURN_IF_ERROR(CheckEqual(entry.name + ": rows", spec->rows, entry.rows));
      GLINT_RETURN_IF_ERROR(CheckEqual(entry.name + ": columns", spec->columns, entry.columns));
      const uint64_t bytes = uint64_t{entry.rows} * RowStride(entry.type, entry.columns);
      GLINT_RETURN_IF_ERROR(AddExtent(entry.name, entry.extent, bytes));
      GLINT_RETURN_IF_ERROR(
          AddArray(entry.name + ": checksums", entry.checksums, DivideUp(bytes, kGranuleBytesMax), sizeof(uint64_t)));
    }
    for (const TensorSpec& spec : spec_list) {
      if (!spec.optional && specs.contains(spec.name)) return Wrong("matrices", Quote(spec.name), "none of that name");
    }
    return Status::Ok();
  }

  Status CheckFfn() {
    GLINT_RETURN_IF_ERROR(CheckEqual("ffn: count", directory_.config.layer_count, directory_.ffn.size()));
    for (size_t i = 0; i < directory_.ffn.size(); ++i) {
      const FfnEntry& entry = directory_.ffn[i];
      const std::string key = Concat("ffn[", i, "]");
      const uint64_t bundles = entry.layout.bundle_count();
      GLINT_RETURN_IF_ERROR(AddExtent(key, entry.extent, entry.layout.extent_bytes()));
      GLINT_RETURN_IF_ERROR(AddArray(key + ".first_checksums", entry.first_checksums, bundles, sizeof(uint64_t)));
      GLINT_RETURN_IF_ERROR(AddArray(key + ".rest_checksums", entry.rest_checksums, bundles, sizeof(uint64_t)));
    }
    return Status::Ok();
  }

  Status CheckArraysApart() {
    std::sort(arrays_.begin(), arrays_.end(),
              [](const Array& a, const Array& b) { return std::tie(a.table, a.extent) < std::tie(b.table, b.extent); });
    for (size_t i = 1; i < arrays_.size(); ++i) {
      const Array& before = arrays_[i - 1];
      if (before.table == arrays_[i].table && before.extent.end() > arrays_[i].extent.offset) {
        return Wrong(arrays_[i].key, Concat("an array that begins after ", before.key, " at ", before.extent.end()),
                     Concat("offset ", arrays_[i].extent.offset));
      }
    }
    return Status::Ok();
  }

  // What lies between two extents is padding, less than kExtentAlignment of it; so every byte of the file has a
  // checksum or must be zero.
  Status CheckExtentsCoverFile() {
    extents_.emplace_back(Extent{0, kHeaderBytes}, "header");
    extents_.emplace_back(header_.directory, "directory");
    std::sort(extents_.begin(), extents_.end());
    for (size_t i = 1; i < extents_.size(); ++i) {
      const uint64_t wanted = AlignUp(extents_[i - 1].first.end(), kExtentAlignment);
      if (extents_[i].first.offset != wanted) {
        return Wrong(extents_[i].second, Concat("offset ", wanted, ", where ", extents_[i - 1].second, " ends"),
                     extents_[i].first.offset);
      }
    }
    if (extents_.back().first != header_.directory)
      return Wrong("extents", "the directory last", extents_.back().second);
    return Status::Ok();
  }

  struct Array {
    uint32_t table = 0;
    Extent extent;  // within the table
    std::string key;
  };

  const ModelDirectory& directory_;
  const Header& header_;
  std::string_view where_;
  std::vector<std::pair<Extent, std::string>> extents_;  // with their names for messages
  std::vector<Array> arrays_;
};

}  // namespace

const VectorEntry* ModelDirectory::FindVector(std::string_view name) const { return Find(vectors, name); }
const MatrixEntry* ModelDirectory::FindMatrix(std::string_view name) const { return Find(matrices, name); }

Result<ModelDirectory> ParseDirectory(std::string_view json, const Header& header, std::string_view file) {
  const std::string where = Concat(Quote(file), ": directory at offset ", header.directory.offset);
  if (json.size() > kDirectoryBytesMax) {
    return CorruptData(Concat(where, ": wanted at most ", kDirectoryBytesMax, " bytes, got ", json.size()));
  }
  if (json.size() != header.directory.bytes) {
    return CorruptData(Concat(where, ": wanted ", header.directory.bytes, " bytes, got ", json.size()));
  }
  const uint64_t checksum = Checksum(std::as_bytes(std::span(json)));
  if (checksum != header.directory_checksum) {
    return CorruptData(
        Concat(where, ": wanted checksum ", Hex64(header.directory_checksum), ", got ", Hex64(checksum)));
  }
  GLINT_ASSIGN_OR_RETURN(ModelDirectory directory, DirectoryFromJson(json, where));
  directory.file_bytes = header.file_bytes;
  directory.hash = header.directory_checksum;
  GLINT_RETURN_IF_ERROR(DirectoryCheck(directory, header, where).Run());
  return directory;
}

}  // namespace glint
