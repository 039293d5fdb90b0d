// The directory of a model file: what lies where. FORMAT.md describes the bytes.
//
// Trust grows from the header: its checksum covers itself, it holds the directory's checksum, the directory holds those
// of the tables and of the tokenizer section, and the tables hold one checksum for each granule of weights. The
// directory's checksum is the model's hash.
#ifndef GLINT_STORAGE_FORMAT_MODEL_DIRECTORY_H_
#define GLINT_STORAGE_FORMAT_MODEL_DIRECTORY_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "glint/base/status.h"
#include "storage/flash/extent.h"
#include "storage/format/bundle_layout.h"
#include "storage/format/model_config.h"

namespace glint {

inline constexpr uint32_t kFormatVersion = 1;
inline constexpr uint64_t kHeaderBytes = 4096;
inline constexpr uint64_t kExtentAlignment = 64 * kKiB;
inline constexpr uint64_t kDirectoryBytesMax = 1 * kMiB;
inline constexpr uint64_t kTokenizerBytesMax = 256 * kMiB;

// A section that is read and verified whole, in granules of kGranuleBytesMax; checksums are XXH3-64 of each granule.
// Its extent begins on kExtentAlignment; bytes is not padded, the file is (with zeros).
struct Section {
  Extent extent;
  std::vector<uint64_t> checksums;

  friend bool operator==(const Section&, const Section&) = default;
};

// `count` elements inside a table, 64-byte aligned.
struct ArrayRef {
  uint32_t table = 0;
  uint64_t offset = 0;  // from the table's start
  uint64_t count = 0;

  friend bool operator==(const ArrayRef&, const ArrayRef&) = default;
};

// float32 values that every token needs: norms, biases. Named as GGUF names them ("blk.0.attn_q.bias").
struct VectorEntry {
  std::string name;
  ArrayRef values;

  friend bool operator==(const VectorEntry&, const VectorEntry&) = default;
};

// rows x columns, stored row after row at RowStride; granules of kGranuleBytesMax, the last one shorter.
struct MatrixEntry {
  std::string name;  // "token_embd.weight", "blk.0.attn_q.weight"
  WeightType type = WeightType::kF16;
  uint32_t rows = 0;
  uint32_t columns = 0;
  Extent extent;       // bytes = rows * RowStride
  ArrayRef checksums;  // uint64, one per granule

  friend bool operator==(const MatrixEntry&, const MatrixEntry&) = default;
};

// One layer's FFN. Checksums: one per bundle for each granule.
struct FfnEntry {
  BundleLayout layout;
  Extent extent;  // bytes = layout.extent_bytes()
  ArrayRef first_checksums;
  ArrayRef rest_checksums;

  friend bool operator==(const FfnEntry&, const FfnEntry&) = default;
};

struct ModelDirectory {
  std::string writer;  // the program that wrote the file: "glint 0.1.0"
  ModelConfig config;
  WeightType type = WeightType::kF16;  // as asked of `pack`; single matrices may differ
  uint64_t file_bytes = 0;
  uint64_t hash = 0;            // XXH3-64 of the directory's bytes: the model's identity
  Section tokenizer;            // bytes == 0: none
  std::vector<Section> tables;  // 0: the model's own; 1 + i: layer i's
  std::vector<VectorEntry> vectors;
  std::vector<MatrixEntry> matrices;
  std::vector<FfnEntry> ffn;  // by layer

  // nullptr where there is none of that name.
  const VectorEntry* FindVector(std::string_view name) const;
  const MatrixEntry* FindMatrix(std::string_view name) const;

  friend bool operator==(const ModelDirectory&, const ModelDirectory&) = default;
};

// Its extent is the last of the file: padded to kExtentAlignment it ends at file_bytes.
struct Header {
  uint32_t version = kFormatVersion;
  uint64_t file_bytes = 0;
  Extent directory;
  uint64_t directory_checksum = 0;
};

// Whether `bytes`, a file's first, are those of a model file of any version.
bool HasModelMagic(std::span<const std::byte> bytes);
std::array<std::byte, kHeaderBytes> SerializeHeader(const Header& header);
// `bytes` are the file's first kHeaderBytes, or all there are. kCorruptData (not a glint file, truncated, checksum),
// kUnsupported (version; names the command that repacks).
Result<Header> ParseHeader(std::span<const std::byte> bytes, uint64_t actual_file_bytes, std::string_view file);

// file_bytes and hash are not part of it.
std::string SerializeDirectory(const ModelDirectory& directory);
// Checks that `json` is what the header's checksum covers, parses it and validates everything: limits on size, depth
// and counts, extents inside the file, aligned, apart and with nothing but padding between them, arrays inside their
// tables and apart, shapes that agree with the config, every tensor that the architecture needs and no other. Errors
// name `file`, the offset of the directory and the key.
Result<ModelDirectory> ParseDirectory(std::string_view json, const Header& header, std::string_view file);

// Names and shapes of the tensors that `config` asks for; packing, parsing and the decoder agree on it.
struct TensorSpec {
  std::string name;
  uint32_t rows = 0;  // 1 for a vector
  uint32_t columns = 0;
  bool is_vector = false;
  bool optional = false;  // biases that a model may lack
};
// REQUIRES: ValidateModelConfig(config) is ok.
std::vector<TensorSpec> TensorSpecs(const ModelConfig& config);

}  // namespace glint

#endif  // GLINT_STORAGE_FORMAT_MODEL_DIRECTORY_H_
