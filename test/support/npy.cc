#include "test/support/npy.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <string_view>

#include "glint/base/text.h"

namespace glint::test {
namespace {

static_assert(std::endian::native == std::endian::little, "elements are taken as they lie in the file");

constexpr std::string_view kMagic("\x93NUMPY", 6);

// Returns what follows `'key':` in the header's dictionary, without leading spaces; empty where there is no such key.
std::string_view ValueOf(std::string_view header, const std::string& key) {
  const std::string quoted = "'" + key + "':";
  const size_t at = header.find(quoted);
  if (at == std::string_view::npos) return {};
  header.remove_prefix(at + quoted.size());
  header.remove_prefix(std::min(header.find_first_not_of(' '), header.size()));
  return header;
}

// Parses "(8, 4096)", "(5,)" or "()".
std::optional<std::vector<uint64_t>> ParseShape(std::string_view text) {
  if (!text.starts_with('(')) return std::nullopt;
  text.remove_prefix(1);
  std::vector<uint64_t> shape;
  uint64_t number = 0;
  bool in_number = false;
  for (const char c : text) {
    if (c >= '0' && c <= '9') {
      if (number > (uint64_t{1} << 40)) return std::nullopt;
      number = number * 10 + static_cast<uint64_t>(c - '0');
      in_number = true;
    } else if (c == ',' || c == ')') {
      if (in_number) shape.push_back(number);
      number = 0;
      in_number = false;
      if (c == ')') return shape;
    } else if (c != ' ') {
      return std::nullopt;
    }
  }
  return std::nullopt;
}

template <typename T>
Result<NpyArray<T>> ReadNpy(const std::string& path, std::string_view type) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return NotFound(Concat("cannot open ", Quote(path)));
  const std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};

  // Magic, version (major, minor), then the header's length in 2 bytes (version 1) or 4.
  if (bytes.size() < 12 || !bytes.starts_with(kMagic)) return CorruptData(Concat(Quote(path), " is not a .npy file"));
  const uint32_t major = static_cast<uint8_t>(bytes[6]);
  if (major < 1 || major > 3) return Unsupported(Concat(Quote(path), ": .npy version wanted 1 to 3, got ", major));
  uint32_t header_bytes = 0;
  const size_t length_bytes = major == 1 ? 2 : 4;
  std::memcpy(&header_bytes, bytes.data() + 8, length_bytes);
  const size_t data_offset = 8 + length_bytes + header_bytes;
  if (data_offset > bytes.size()) return CorruptData(Concat(Quote(path), " ends within its header"));
  const std::string_view header(bytes.data() + 8 + length_bytes, header_bytes);

  if (!ValueOf(header, "descr").starts_with(type)) {
    return Unsupported(Concat(Quote(path), ": elements wanted ", type, ", header is ", Quote(header)));
  }
  if (!ValueOf(header, "fortran_order").starts_with("False")) {
    return Unsupported(Concat(Quote(path), ": C order wanted, header is ", Quote(header)));
  }
  std::optional<std::vector<uint64_t>> shape = ParseShape(ValueOf(header, "shape"));
  if (!shape.has_value()) return CorruptData(Concat(Quote(path), ": no shape in header ", Quote(header)));

  const uint64_t data_bytes = bytes.size() - data_offset;
  uint64_t count = 1;
  for (const uint64_t size : *shape) {
    if (size != 0 && count > data_bytes / size) {
      return CorruptData(Concat(Quote(path), ": ", data_bytes, " bytes are too few for header ", Quote(header)));
    }
    count *= size;
  }
  if (count * sizeof(T) != data_bytes) {
    return CorruptData(Concat(Quote(path), ": ", count * sizeof(T), " bytes of elements wanted, got ", data_bytes));
  }
  NpyArray<T> array{std::move(*shape), std::vector<T>(count)};
  if (count != 0) std::memcpy(array.values.data(), bytes.data() + data_offset, data_bytes);
  return array;
}

}  // namespace

Result<NpyArray<float>> ReadNpyFloat32(const std::string& path) { return ReadNpy<float>(path, "'<f4'"); }
Result<NpyArray<int64_t>> ReadNpyInt64(const std::string& path) { return ReadNpy<int64_t>(path, "'<i8'"); }

}  // namespace glint::test
