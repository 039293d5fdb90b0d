// An opened model file: its directory, validated, and a reader over its bytes. Verifies what it loads.
#ifndef GLINT_STORAGE_FORMAT_MODEL_FILE_H_
#define GLINT_STORAGE_FORMAT_MODEL_FILE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "glint/base/log.h"
#include "glint/base/status.h"
#include "storage/flash/aligned_buffer.h"
#include "storage/flash/flash_reader.h"
#include "storage/format/checksum.h"
#include "storage/format/model_directory.h"

namespace glint {

struct ModelFileOptions {
  IoEngineKind io = IoEngineKind::kAuto;
  DirectIo direct = DirectIo::kAuto;
  LogSink log;
};

// Thread-compatible; the directory is const after open.
class ModelFile {
 public:
  // Reads and validates header and directory; nothing else.
  static Result<ModelFile> Open(const std::string& path, const ModelFileOptions& options);
  static Result<ModelFile> OpenFd(int fd, uint64_t offset, uint64_t bytes, const ModelFileOptions& options);
  static Result<ModelFile> Create(std::unique_ptr<FlashReader> reader);  // over a given reader (a faulty fake)

  const ModelDirectory& directory() const { return *directory_; }
  const Extent& directory_extent() const { return directory_extent_; }
  const std::string& name() const { return reader_->file().name(); }
  FlashReader& reader() { return *reader_; }
  const FlashReader& reader() const { return *reader_; }

  // Reads one section into `into` and verifies it. REQUIRES: nothing is in flight; into.data() is page-aligned and
  // into.size() >= AlignUp(section.extent.bytes, kPageBytes).
  Status LoadSection(const Section& section, std::string_view what, std::span<std::byte> into);
  // Reads a matrix into `into` and verifies each granule. Same REQUIRES with matrix.extent.bytes.
  Status LoadMatrix(const MatrixEntry& matrix, std::span<const uint64_t> checksums, std::span<std::byte> into);
  // Verifies a granule that was read from `extent` to `bytes`; looks again through the page cache where it does not
  // hold. kCorruptData with file, offset, wanted, got where it still does not.
  Status VerifyGranule(Extent extent, std::span<std::byte> bytes, uint64_t checksum, std::string_view what);

 private:
  Status LoadGranules(Extent extent, std::span<const uint64_t> checksums, std::string_view what,
                      std::span<std::byte> into);

  ModelFile() = default;
  std::unique_ptr<FlashReader> reader_;
  std::unique_ptr<ModelDirectory> directory_;  // stays where it is when the file moves
  Extent directory_extent_;
};

// The tables of a model file, in memory that the caller owns.
class ModelTables {
 public:
  // Bytes that Load needs.
  static uint64_t BytesNeeded(const ModelDirectory& directory);
  // REQUIRES: memory is page-aligned and has BytesNeeded.
  static Result<ModelTables> Load(ModelFile& file, std::span<std::byte> memory);

  std::span<const float> Floats(const ArrayRef& ref) const;
  std::span<const uint64_t> Checksums(const ArrayRef& ref) const;
  // The vector named `name`; empty where the model has none.
  std::span<const float> Vector(const ModelDirectory& directory, std::string_view name) const;

 private:
  std::vector<std::span<const std::byte>> tables_;  // page-aligned
};

// Reads the whole file and checks every checksum and that all padding is zero; goes on after a fault, so that all are
// told. Header and directory must hold, for they say what to check: where they do not, that is the error returned.
struct VerifyReport {
  uint64_t bytes_verified = 0;
  uint64_t granules_verified = 0;   // faulty ones are in neither number
  std::vector<std::string> faults;  // one line each: file, offset, what, wanted, got; at most 100, then a count
};
using Progress = std::function<void(uint64_t done_bytes, uint64_t total_bytes)>;  // may be empty
Result<VerifyReport> VerifyModelFile(const std::string& path, const ModelFileOptions& options,
                                     const Progress& progress);

}  // namespace glint

#endif  // GLINT_STORAGE_FORMAT_MODEL_FILE_H_
