// Header and directory from bytes that are not trusted. An input is four bytes (the directory's offset in units of
// 64 KiB) and the directory's JSON; checksums are made to hold, so that the parser is reached. The same bytes are also
// taken for a header as they are.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "storage/format/checksum.h"
#include "storage/format/model_directory.h"

namespace {

using namespace glint;

void Require(bool condition) {
  if (!condition) std::abort();
}

void RequireInside(const Extent& extent, uint64_t bytes) {
  Require(extent.offset <= bytes && extent.bytes <= bytes - extent.offset);
}

// What passed must be usable with no further checks.
void CheckUsable(const ModelDirectory& directory) {
  const auto array = [&](const ArrayRef& ref, uint64_t count, uint64_t element_bytes) {
    Require(ref.count == count && ref.table < directory.tables.size() && ref.offset % 64 == 0);
    RequireInside({ref.offset, count * element_bytes}, directory.tables[ref.table].extent.bytes);
  };
  RequireInside(directory.tokenizer.extent, directory.file_bytes);
  for (const Section& table : directory.tables) RequireInside(table.extent, directory.file_bytes);
  for (const VectorEntry& entry : directory.vectors) array(entry.values, entry.values.count, sizeof(float));
  for (const MatrixEntry& entry : directory.matrices) {
    RequireInside(entry.extent, directory.file_bytes);
    Require(entry.extent.bytes == entry.rows * RowStride(entry.type, entry.columns));
    array(entry.checksums, DivideUp(entry.extent.bytes, kGranuleBytesMax), sizeof(uint64_t));
  }
  Require(directory.ffn.size() == directory.config.layer_count);
  for (const FfnEntry& entry : directory.ffn) {
    RequireInside(entry.extent, directory.file_bytes);
    Require(entry.layout.extent_bytes() == entry.extent.bytes);
    array(entry.first_checksums, entry.layout.bundle_count(), sizeof(uint64_t));
    array(entry.rest_checksums, entry.layout.bundle_count(), sizeof(uint64_t));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  (void)ParseHeader(bytes, size, "fuzz");

  uint32_t blocks = 0;
  if (size <= sizeof blocks) return 0;
  std::memcpy(&blocks, data, sizeof blocks);
  const std::string_view json(reinterpret_cast<const char*>(data) + sizeof blocks, size - sizeof blocks);
  Header header;
  header.directory = {blocks * kExtentAlignment, json.size()};
  header.directory_checksum = Checksum(bytes.subspan(sizeof blocks));
  header.file_bytes = AlignUp(header.directory.end(), kExtentAlignment);
  const auto parsed_header = ParseHeader(SerializeHeader(header), header.file_bytes, "fuzz");
  if (!parsed_header.ok()) return 0;
  const auto directory = ParseDirectory(json, *parsed_header, "fuzz");
  if (!directory.ok()) return 0;
  CheckUsable(*directory);

  // What is written of it is read back as the same.
  const std::string again = SerializeDirectory(*directory);
  header.directory.bytes = again.size();
  header.directory_checksum = Checksum(std::as_bytes(std::span(again)));
  header.file_bytes = AlignUp(header.directory.end(), kExtentAlignment);
  const auto parsed_again = ParseDirectory(again, header, "fuzz");
  Require(parsed_again.ok() && SerializeDirectory(*parsed_again) == again);
  return 0;
}
