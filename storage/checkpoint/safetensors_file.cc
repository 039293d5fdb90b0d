#include "storage/checkpoint/safetensors_file.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <string_view>

#include "glint/base/text.h"

namespace glint {
namespace {

constexpr uint64_t kLengthBytes = 8;

struct TypeRow {
  std::string_view name;
  ElementType type;
  uint32_t bytes;
};
constexpr TypeRow kTypes[] = {
    {"F32", ElementType::kF32, 4},       {"F16", ElementType::kF16, 2},       {"BF16", ElementType::kBf16, 2},
    {"F64", ElementType::kOther, 8},     {"I64", ElementType::kOther, 8},     {"U64", ElementType::kOther, 8},
    {"I32", ElementType::kOther, 4},     {"U32", ElementType::kOther, 4},     {"I16", ElementType::kOther, 2},
    {"U16", ElementType::kOther, 2},     {"I8", ElementType::kOther, 1},      {"U8", ElementType::kOther, 1},
    {"BOOL", ElementType::kOther, 1},    {"F8_E4M3", ElementType::kOther, 1}, {"F8_E5M2", ElementType::kOther, 1},
    {"F8_E8M0", ElementType::kOther, 1},
};

// Takes the header event by event, so that a header of any contents needs no more memory than the tensors it names:
//   { "name": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]}, "__metadata__": {"key": "value"} }
class HeaderHandler {
 public:
  using number_integer_t = nlohmann::json::number_integer_t;
  using number_unsigned_t = nlohmann::json::number_unsigned_t;
  using number_float_t = nlohmann::json::number_float_t;
  using string_t = nlohmann::json::string_t;
  using binary_t = nlohmann::json::binary_t;

  std::vector<TensorInfo> tensors;  // extents relative to the data; element types as named
  std::string fault;

  bool null() { return Refuse("null"); }
  bool boolean(bool) { return Refuse("a boolean"); }
  bool number_integer(number_integer_t value) { return Refuse(Concat("the number ", value)); }
  bool number_float(number_float_t, const string_t& text) { return Refuse(Concat("the number ", Quote(text))); }
  bool binary(binary_t&) { return Refuse("binary data"); }

  bool number_unsigned(number_unsigned_t value) {
    if (state_ != State::kShape && state_ != State::kOffsets) return Refuse(Concat("the number ", value));
    if (state_ == State::kShape && numbers_.size() == kSafetensorsDimensionsMax) {
      return Fail(Concat("wanted at most ", kSafetensorsDimensionsMax, " dimensions"));
    }
    if (state_ == State::kOffsets && numbers_.size() == 2) return Fail("wanted 2 data_offsets, got more");
    numbers_.push_back(value);
    return true;
  }

  bool string(string_t& value) {
    if (state_ == State::kMetadata) return true;
    if (state_ != State::kTensor || key_ != "dtype") return Refuse("a string");
    tensors.back().type_name = value;
    return true;
  }

  bool start_object(std::size_t) {
    switch (state_) {
      case State::kStart: state_ = State::kTop; return true;
      case State::kTop:
        if (key_ == "__metadata__") {
          state_ = State::kMetadata;
          return true;
        }
        if (tensors.size() == kSafetensorsTensorsMax) {
          return Fail(Concat("wanted at most ", kSafetensorsTensorsMax, " tensors"));
        }
        state_ = State::kTensor;
        seen_.clear();
        tensors.emplace_back().name = key_;
        return true;
      default: return Refuse("an object");
    }
  }

  bool end_object() {
    if (state_ == State::kTensor) {
      for (const char* wanted : {"dtype", "shape", "data_offsets"}) {
        if (!seen_.contains(wanted)) return Fail(Concat("wanted the key '", wanted, "', got none"));
      }
      state_ = State::kTop;
    } else if (state_ == State::kMetadata) {
      state_ = State::kTop;
    }
    return true;
  }

  bool start_array(std::size_t) {
    numbers_.clear();
    if (state_ == State::kTensor && key_ == "shape") {
      state_ = State::kShape;
    } else if (state_ == State::kTensor && key_ == "data_offsets") {
      state_ = State::kOffsets;
    } else {
      return Refuse("an array");
    }
    return true;
  }

  bool end_array() {
    TensorInfo& tensor = tensors.back();
    if (state_ == State::kShape) {
      tensor.shape = numbers_;
    } else {
      if (numbers_.size() != 2) return Fail(Concat("wanted 2 data_offsets, got ", numbers_.size()));
      if (numbers_[1] < numbers_[0]) {
        return Fail(Concat("data_offsets end at ", numbers_[1], ", before their begin at ", numbers_[0]));
      }
      tensor.extent = {numbers_[0], numbers_[1] - numbers_[0]};
    }
    state_ = State::kTensor;
    return true;
  }

  bool key(string_t& value) {
    if (state_ == State::kTensor) {
      if (value != "dtype" && value != "shape" && value != "data_offsets") {
        return Fail(Concat("wanted 'dtype', 'shape' and 'data_offsets', got the key ", Quote(value)));
      }
      if (!seen_.insert(value).second) return Fail(Concat("the key '", value, "' comes twice"));
    }
    if (state_ != State::kMetadata) key_ = value;
    return true;
  }

  bool parse_error(std::size_t, const std::string&, const nlohmann::json::exception& error) {
    if (fault.empty()) fault = error.what();
    return false;
  }

 private:
  enum class State { kStart, kTop, kMetadata, kTensor, kShape, kOffsets };

  bool Fail(const std::string& what) {
    const bool in_tensor = state_ == State::kTensor || state_ == State::kShape || state_ == State::kOffsets;
    fault = in_tensor ? Concat("tensor ", Quote(tensors.back().name), ": ", what) : what;
    return false;
  }
  bool Refuse(const std::string& got) {
    if (state_ == State::kStart) return Fail("wanted a JSON object, got " + got);
    return Fail(Concat(got, " where the format has none, after the key ", Quote(key_)));
  }

  State state_ = State::kStart;
  std::string key_;
  std::set<std::string> seen_;  // keys of the tensor
  std::vector<uint64_t> numbers_;
};

Status ParseHeader(std::string_view text, std::string_view where, std::vector<TensorInfo>* tensors) {
  HeaderHandler handler;
  bool good = false;
  try {
    good = nlohmann::json::sax_parse(text.begin(), text.end(), &handler);
  } catch (const std::exception& error) {
    handler.fault = error.what();
  }
  if (!good) return CorruptData(Concat(where, "header: ", handler.fault));
  *tensors = std::move(handler.tensors);
  return Status::Ok();
}

// Fills in the type, and compares the shape with the bytes.
Status CheckTensor(const std::string& where, uint64_t data_bytes, TensorInfo* tensor) {
  const std::string what = Concat(where, "tensor ", Quote(tensor->name), ": ");
  const auto* type = std::find_if(std::begin(kTypes), std::end(kTypes),
                                  [tensor](const TypeRow& row) { return row.name == tensor->type_name; });
  if (type == std::end(kTypes)) return Unsupported(Concat(what, "unknown dtype ", Quote(tensor->type_name)));
  tensor->type = type->type;
  tensor->element_bytes = type->bytes;
  uint64_t bytes = type->bytes;
  for (const uint64_t size : tensor->shape) {
    if (size != 0 && bytes > std::numeric_limits<uint64_t>::max() / size) {
      return CorruptData(Concat(what, "shape ", ShapeText(tensor->shape), " has more bytes than can be counted"));
    }
    bytes *= size;
  }
  if (bytes != tensor->extent.bytes) {
    return CorruptData(Concat(what, "shape ", ShapeText(tensor->shape), " of ", tensor->type_name, " wants ", bytes,
                              " bytes, data_offsets give ", tensor->extent.bytes));
  }
  if (tensor->extent.offset > data_bytes || tensor->extent.bytes > data_bytes - tensor->extent.offset) {
    return CorruptData(Concat(what, "data_offsets [", tensor->extent.offset, ", ",
                              tensor->extent.offset + tensor->extent.bytes, ") lie beyond the data's ", data_bytes,
                              " bytes; is the file cut short?"));
  }
  return Status::Ok();
}

// Sorts by offset. REQUIRES: each tensor lies inside the data.
Status CheckArrangement(const std::string& where, uint64_t data_bytes, std::vector<TensorInfo>* tensors) {
  std::sort(tensors->begin(), tensors->end(), [](const TensorInfo& a, const TensorInfo& b) {
    return a.extent != b.extent ? a.extent < b.extent : a.name < b.name;
  });
  uint64_t end = 0;
  for (const TensorInfo& tensor : *tensors) {
    if (tensor.extent.offset != end) {
      return CorruptData(Concat(where, "tensor ", Quote(tensor.name), ": wanted data offset ", end, ", got ",
                                tensor.extent.offset,
                                tensor.extent.offset < end ? " (tensors overlap)" : " (a hole before it)"));
    }
    end = tensor.extent.end();
  }
  if (end != data_bytes) {
    return CorruptData(Concat(where, "the tensors end at data offset ", end, ", the file at ", data_bytes));
  }
  std::set<std::string_view> names;
  for (const TensorInfo& tensor : *tensors) {
    if (!names.insert(tensor.name).second) {
      return CorruptData(Concat(where, "tensor ", Quote(tensor.name), " comes twice"));
    }
  }
  return Status::Ok();
}

}  // namespace

std::string ShapeText(const std::vector<uint64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += Concat(i == 0 ? "" : ", ", shape[i]);
  return text + "]";
}

Result<SafetensorsFile> SafetensorsFile::Open(const std::string& path) {
  GLINT_ASSIGN_OR_RETURN(FlashFile file, FlashFile::Open(path, DirectIo::kOff, {}));
  const std::string where = Quote(path) + ": ";
  if (file.bytes() < kLengthBytes) {
    return CorruptData(Concat(where, "not a safetensors file: wanted at least 8 bytes, got ", file.bytes()));
  }
  std::byte length_bytes[kLengthBytes];
  GLINT_RETURN_IF_ERROR(file.ReadBuffered(0, length_bytes));
  uint64_t header_bytes = 0;
  for (uint64_t i = kLengthBytes; i-- > 0;) header_bytes = header_bytes << 8 | static_cast<uint64_t>(length_bytes[i]);
  if (header_bytes > file.bytes() - kLengthBytes) {
    return CorruptData(Concat(where, "offset 0: the header's length is ", header_bytes, ", but only ",
                              file.bytes() - kLengthBytes, " bytes follow"));
  }
  if (header_bytes > kSafetensorsHeaderBytesMax) {
    return Unsupported(Concat(where, "offset 0: the header's length is ", header_bytes, ", wanted at most ",
                              kSafetensorsHeaderBytesMax));
  }
  std::vector<TensorInfo> tensors;
  {
    std::string header(header_bytes, '\0');
    if (!header.empty()) {
      GLINT_RETURN_IF_ERROR(file.ReadBuffered(kLengthBytes, std::as_writable_bytes(std::span(header))));
    }
    GLINT_RETURN_IF_ERROR(ParseHeader(header, where, &tensors));
  }
  const uint64_t data_offset = kLengthBytes + header_bytes;
  const uint64_t data_bytes = file.bytes() - data_offset;
  for (TensorInfo& tensor : tensors) GLINT_RETURN_IF_ERROR(CheckTensor(where, data_bytes, &tensor));
  GLINT_RETURN_IF_ERROR(CheckArrangement(where, data_bytes, &tensors));
  for (TensorInfo& tensor : tensors) tensor.extent.offset += data_offset;
  return SafetensorsFile{std::move(file), std::move(tensors)};
}

}  // namespace glint
