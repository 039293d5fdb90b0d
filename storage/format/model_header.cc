#include <algorithm>
#include <bit>
#include <cstring>

#include "glint/base/text.h"
#include "storage/format/checksum.h"
#include "storage/format/model_directory.h"

namespace glint {
namespace {

static_assert(std::endian::native == std::endian::little, "the model file is used as stored, and it is little-endian");

// Line ends and a control byte, so that a copy in text mode does not pass for the file.
constexpr std::array<unsigned char, 8> kMagic = {'g', 'l', 'i', 'n', 't', '\r', '\n', 0x1A};
constexpr size_t kVersionOffset = 8;
constexpr size_t kFileBytesOffset = 16;
constexpr size_t kDirectoryOffsetOffset = 24;
constexpr size_t kDirectoryBytesOffset = 32;
constexpr size_t kDirectoryChecksumOffset = 40;
constexpr size_t kHeaderChecksumOffset = kHeaderBytes - 8;  // of all bytes before it

template <typename T>
void Store(std::span<std::byte> bytes, size_t offset, T value) {
  std::memcpy(bytes.data() + offset, &value, sizeof value);
}

template <typename T>
T Load(std::span<const std::byte> bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

Status NotAModelFile(std::span<const std::byte> bytes, std::string_view file) {
  std::string got = "an empty file";
  if (!bytes.empty()) {
    const size_t count = std::min(bytes.size(), kMagic.size());
    got = Quote({reinterpret_cast<const char*>(bytes.data()), count});
  }
  std::string what_to_do = "; make a model file with `glint pack CHECKPOINT -o FILE`";
  return CorruptData(Concat(Quote(file), ": not a glint model file: at offset 0 wanted 'glint\\x0d\\x0a\\x1a', got ",
                            got, what_to_do));
}

}  // namespace

bool HasModelMagic(std::span<const std::byte> bytes) {
  return bytes.size() >= kMagic.size() && std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) == 0;
}

std::array<std::byte, kHeaderBytes> SerializeHeader(const Header& header) {
  std::array<std::byte, kHeaderBytes> bytes{};
  std::memcpy(bytes.data(), kMagic.data(), kMagic.size());
  Store(bytes, kVersionOffset, header.version);
  Store(bytes, kFileBytesOffset, header.file_bytes);
  Store(bytes, kDirectoryOffsetOffset, header.directory.offset);
  Store(bytes, kDirectoryBytesOffset, header.directory.bytes);
  Store(bytes, kDirectoryChecksumOffset, header.directory_checksum);
  Store(bytes, kHeaderChecksumOffset, Checksum(std::span(bytes).first(kHeaderChecksumOffset)));
  return bytes;
}

// The order of the checks is that of the best message: what kind of file, which version, is all of it there, is it
// whole.
Result<Header> ParseHeader(std::span<const std::byte> bytes, uint64_t actual_file_bytes, std::string_view file) {
  if (!HasModelMagic(bytes)) return NotAModelFile(bytes, file);
  if (bytes.size() < kHeaderBytes) {
    return CorruptData(Concat(Quote(file), ": truncated: wanted a header of ", kHeaderBytes, " bytes, got ",
                              bytes.size(), "; copy the file again"));
  }
  bytes = bytes.first(kHeaderBytes);
  Header header;
  header.version = Load<uint32_t>(bytes, kVersionOffset);
  if (header.version != kFormatVersion) {
    return Unsupported(Concat(Quote(file), ": wanted format version ", kFormatVersion, ", got ", header.version,
                              header.version < kFormatVersion ? "" : " (a newer glint may read it)",
                              "; pack it again with `glint pack CHECKPOINT -o FILE`"));
  }
  header.file_bytes = Load<uint64_t>(bytes, kFileBytesOffset);
  if (header.file_bytes != actual_file_bytes) {
    return CorruptData(Concat(Quote(file), header.file_bytes > actual_file_bytes ? ": truncated" : ": too long",
                              ": wanted ", header.file_bytes, " bytes, got ", actual_file_bytes,
                              "; copy the file again"));
  }
  const uint64_t wanted = Load<uint64_t>(bytes, kHeaderChecksumOffset);
  const uint64_t got = Checksum(bytes.first(kHeaderChecksumOffset));
  if (wanted != got) {
    return CorruptData(
        Concat(Quote(file), ": header at offset 0: wanted checksum ", Hex64(wanted), ", got ", Hex64(got)));
  }
  header.directory = {Load<uint64_t>(bytes, kDirectoryOffsetOffset), Load<uint64_t>(bytes, kDirectoryBytesOffset)};
  header.directory_checksum = Load<uint64_t>(bytes, kDirectoryChecksumOffset);
  const Extent& directory = header.directory;
  if (directory.bytes == 0 || directory.bytes > kDirectoryBytesMax || directory.offset < kExtentAlignment ||
      directory.offset % kExtentAlignment != 0 || directory.offset > header.file_bytes ||
      AlignUp(directory.bytes, kExtentAlignment) != header.file_bytes - directory.offset) {
    return CorruptData(Concat(Quote(file), ": header at offset 0: wanted the directory on 64 KiB, at most ",
                              kDirectoryBytesMax, " bytes and last in the file of ", header.file_bytes,
                              " bytes, got offset ", directory.offset, " and ", directory.bytes, " bytes"));
  }
  return header;
}

}  // namespace glint
