#include "storage/format/model_file.h"

#include <algorithm>
#include <array>
#include <utility>

#include "glint/base/check.h"
#include "glint/base/text.h"

namespace glint {

Result<ModelFile> ModelFile::Open(const std::string& path, const ModelFileOptions& options) {
  GLINT_ASSIGN_OR_RETURN(FlashFile file, FlashFile::Open(path, options.direct, options.log));
  GLINT_ASSIGN_OR_RETURN(std::unique_ptr<FlashReader> reader,
                         FlashReader::Open(std::move(file), options.io, options.log));
  return Create(std::move(reader));
}

Result<ModelFile> ModelFile::OpenFd(int fd, uint64_t offset, uint64_t bytes, const ModelFileOptions& options) {
  GLINT_ASSIGN_OR_RETURN(FlashFile file, FlashFile::OpenFd(fd, offset, bytes, options.direct, options.log));
  GLINT_ASSIGN_OR_RETURN(std::unique_ptr<FlashReader> reader,
                         FlashReader::Open(std::move(file), options.io, options.log));
  return Create(std::move(reader));
}

Result<ModelFile> ModelFile::Create(std::unique_ptr<FlashReader> reader) {
  const FlashFile& file = reader->file();
  std::array<std::byte, kHeaderBytes> header_memory;
  const std::span<std::byte> header_bytes =
      std::span(header_memory).first(std::min<uint64_t>(kHeaderBytes, file.bytes()));
  GLINT_RETURN_IF_ERROR(file.ReadBuffered(0, header_bytes));
  GLINT_ASSIGN_OR_RETURN(const Header header, ParseHeader(header_bytes, file.bytes(), file.name()));
  std::string json(header.directory.bytes, '\0');
  GLINT_RETURN_IF_ERROR(file.ReadBuffered(header.directory.offset, std::as_writable_bytes(std::span(json))));
  GLINT_ASSIGN_OR_RETURN(ModelDirectory directory, ParseDirectory(json, header, file.name()));
  ModelFile model;
  model.directory_ = std::make_unique<ModelDirectory>(std::move(directory));
  model.directory_extent_ = header.directory;
  model.reader_ = std::move(reader);
  return model;
}

Status ModelFile::LoadSection(const Section& section, std::string_view what, std::span<std::byte> into) {
  return LoadGranules(section.extent, section.checksums, what, into);
}

Status ModelFile::LoadMatrix(const MatrixEntry& matrix, std::span<const uint64_t> checksums,
                             std::span<std::byte> into) {
  return LoadGranules(matrix.extent, checksums, matrix.name, into);
}

// Granules land where they stay, many reads in flight; each is verified when it has come.
Status ModelFile::LoadGranules(Extent extent, std::span<const uint64_t> checksums, std::string_view what,
                               std::span<std::byte> into) {
  const auto granule_count = static_cast<uint32_t>(DivideUp(extent.bytes, kGranuleBytesMax));
  const uint32_t depth = std::min(reader_->queue_depth_max(), kQueueDepthMax);
  GLINT_CHECK(reinterpret_cast<uintptr_t>(into.data()) % kPageBytes == 0);
  GLINT_CHECK(into.size() >= AlignUp(extent.bytes, kPageBytes));
  GLINT_CHECK(checksums.size() == granule_count);
  GLINT_CHECK(reader_->in_flight() == 0 && reader_->alignment() <= kPageBytes);

  const auto verify = [&](uint32_t granule) {
    const uint64_t start = granule * kGranuleBytesMax;
    const uint64_t bytes = std::min(kGranuleBytesMax, extent.bytes - start);
    return VerifyGranule({extent.offset + start, bytes}, into.subspan(start, bytes), checksums[granule], what);
  };
  std::array<FlashRead, kQueueDepthMax> reads;
  std::array<uint32_t, kQueueDepthMax> ended;
  uint32_t next = 0;
  const auto load = [&]() -> Status {
    while (next < granule_count || reader_->in_flight() > 0) {
      uint32_t count = 0;
      for (; next < granule_count && reader_->in_flight() + count < depth; ++next, ++count) {
        const uint64_t start = next * kGranuleBytesMax;
        const uint64_t bytes = AlignUp(std::min(kGranuleBytesMax, extent.bytes - start), reader_->alignment());
        reads[count] = {extent.offset + start, into.data() + start, static_cast<uint32_t>(bytes), next};
      }
      if (count > 0) GLINT_RETURN_IF_ERROR(reader_->Submit(std::span(reads).first(count)));
      GLINT_ASSIGN_OR_RETURN(const uint32_t ended_count, reader_->Reap(ended, /*wait=*/true));
      for (uint32_t i = 0; i < ended_count; ++i) GLINT_RETURN_IF_ERROR(verify(ended[i]));
    }
    return Status::Ok();
  };
  Status loaded = load();
  if (!loaded.ok()) reader_->Drain();
  return loaded;
}

Status ModelFile::VerifyGranule(Extent extent, std::span<std::byte> bytes, uint64_t checksum, std::string_view what) {
  uint64_t got = Checksum(bytes);
  if (got == checksum) return Status::Ok();
  GLINT_ASSIGN_OR_RETURN(const bool holds, reader_->LookAgain(extent.offset, bytes, [&] {
    got = Checksum(bytes);
    return got == checksum;
  }));
  if (holds) return Status::Ok();
  return CorruptData(Concat(Quote(name()), ": ", what, " at offset ", extent.offset, " (", extent.bytes,
                            " bytes): wanted checksum ", Hex64(checksum), ", got ", Hex64(got)));
}

uint64_t ModelTables::BytesNeeded(const ModelDirectory& directory) {
  uint64_t bytes = 0;
  for (const Section& table : directory.tables) bytes += AlignUp(table.extent.bytes, kPageBytes);
  return bytes;
}

Result<ModelTables> ModelTables::Load(ModelFile& file, std::span<std::byte> memory) {
  GLINT_CHECK(memory.size() >= BytesNeeded(file.directory()));
  ModelTables tables;
  const std::vector<Section>& sections = file.directory().tables;
  for (size_t i = 0; i < sections.size(); ++i) {
    const uint64_t bytes = sections[i].extent.bytes;
    GLINT_RETURN_IF_ERROR(file.LoadSection(sections[i], Concat("table ", i), memory));
    tables.tables_.push_back(memory.first(bytes));
    memory = memory.subspan(AlignUp(bytes, kPageBytes));
  }
  return tables;
}

// The directory's arrays lie inside their tables, 64-byte aligned; the tables are page-aligned.
std::span<const float> ModelTables::Floats(const ArrayRef& ref) const {
  return {reinterpret_cast<const float*>(tables_[ref.table].data() + ref.offset), static_cast<size_t>(ref.count)};
}

std::span<const uint64_t> ModelTables::Checksums(const ArrayRef& ref) const {
  return {reinterpret_cast<const uint64_t*>(tables_[ref.table].data() + ref.offset), static_cast<size_t>(ref.count)};
}

std::span<const float> ModelTables::Vector(const ModelDirectory& directory, std::string_view name) const {
  const VectorEntry* entry = directory.FindVector(name);
  return entry == nullptr ? std::span<const float>() : Floats(entry->values);
}

}  // namespace glint
