#include "storage/checkpoint/safetensors.h"

#include <nlohmann/json.hpp>
#include <set>

#include "glint/base/text.h"
#include "storage/checkpoint/text_file.h"
#include "storage/format/strict_json.h"

namespace glint {
namespace {

// A shard lies beside its index; a name that leads elsewhere is not followed.
bool IsPlainShardName(std::string_view name) {
  constexpr std::string_view kEnding = ".safetensors";
  if (name.size() <= kEnding.size() || name.size() > 255 || !name.ends_with(kEnding) || name.starts_with('.')) {
    return false;
  }
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '/' || c == '\\' || c == ':' || byte < 0x20 || byte == 0x7F) return false;
  }
  return true;
}

// Which file holds which tensor, as model.safetensors.index.json says.
Result<std::map<std::string, std::string>> ReadIndex(const std::string& path) {
  GLINT_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path, kJsonFileBytesMax));
  GLINT_ASSIGN_OR_RETURN(const nlohmann::json index,
                         ParseStrictJson(text, {.depth_max = 4, .values_max = kSafetensorsTensorsMax}, Quote(path)));
  const auto map = index.is_object() ? index.find("weight_map") : index.end();
  if (map == index.end() || !map->is_object() || map->empty()) {
    return CorruptData(Concat(Quote(path), ": key 'weight_map': wanted an object with tensors' names, got ",
                              map == index.end() ? "none" : map->type_name()));
  }
  std::map<std::string, std::string> shard_of;
  for (const auto& [tensor, shard] : map->items()) {
    if (!shard.is_string()) {
      return CorruptData(
          Concat(Quote(path), ": tensor ", Quote(tensor), ": wanted a file's name, got ", shard.type_name()));
    }
    const auto& name = shard.get_ref<const std::string&>();
    if (!IsPlainShardName(name)) {
      return CorruptData(Concat(Quote(path), ": tensor ", Quote(tensor),
                                ": wanted the plain name of a .safetensors file beside the index, got ", Quote(name)));
    }
    shard_of.emplace(tensor, name);
  }
  return shard_of;
}

Status NoSafetensors(const std::string& folder) {
  for (const char* name : {"pytorch_model.bin", "pytorch_model.bin.index.json"}) {
    if (!PathExists(Concat(folder, "/", name))) continue;
    return Unsupported(Concat(Quote(folder), " has its weights in ", name,
                              ", a pickle, which glint does not open; convert it with: ",
                              "python3 -c \"import sys, transformers as t; "
                              "t.AutoModelForCausalLM.from_pretrained(sys.argv[1], torch_dtype='auto')"
                              ".save_pretrained(sys.argv[1], safe_serialization=True)\" ",
                              Quote(folder)));
  }
  return NotFound(Concat(Quote(folder), ": wanted model.safetensors or model.safetensors.index.json, got neither"));
}

}  // namespace

Result<Safetensors> Safetensors::Open(const std::string& folder) {
  Safetensors checkpoint;
  const std::string single = folder + "/model.safetensors";
  const std::string index = folder + "/model.safetensors.index.json";
  if (PathExists(single)) {
    GLINT_RETURN_IF_ERROR(checkpoint.AddFile(single));
    return checkpoint;
  }
  if (!PathExists(index)) return NoSafetensors(folder);
  GLINT_ASSIGN_OR_RETURN(const auto shard_of, ReadIndex(index));
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : shard_of) shards.insert(shard);
  if (shards.size() > kShardsMax) {
    return CorruptData(Concat(Quote(index), ": wanted at most ", kShardsMax, " shards, got ", shards.size()));
  }
  for (const std::string& shard : shards) {
    Status status = checkpoint.AddFile(Concat(folder, "/", shard));
    if (status.code() == StatusCode::kNotFound) {
      return NotFound(Concat(Quote(index), " names a shard that is not there: ", status.message()));
    }
    GLINT_RETURN_IF_ERROR(std::move(status));
  }
  for (const auto& [name, shard] : shard_of) {
    const TensorInfo* tensor = checkpoint.Find(name);
    const std::string wanted = Concat(folder, "/", shard);
    if (tensor == nullptr || checkpoint.FileOf(*tensor).name() != wanted) {
      return CorruptData(Concat(Quote(index), ": tensor ", Quote(name), ": wanted in ", Quote(shard), ", got ",
                                tensor == nullptr ? "none" : Quote(checkpoint.FileOf(*tensor).name())));
    }
  }
  return checkpoint;
}

Status Safetensors::AddFile(const std::string& path) {
  GLINT_ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::Open(path));
  // A shard alone may have as many as that; a thousand such would take more memory than packing may.
  if (file.tensors.size() > kSafetensorsTensorsMax - tensors_.size()) {
    return CorruptData(
        Concat(Quote(path), ": wanted at most ", kSafetensorsTensorsMax, " tensors in all shards, got more"));
  }
  for (TensorInfo& tensor : file.tensors) {
    tensor.shard = static_cast<uint32_t>(files_.size());
    const auto [other, is_new] = tensors_.try_emplace(tensor.name, tensor);
    if (!is_new) {
      return CorruptData(Concat(Quote(path), ": tensor ", Quote(tensor.name), " is in ",
                                Quote(files_[other->second.shard].name()), " as well"));
    }
  }
  files_.push_back(std::move(file.file));
  return Status::Ok();
}

const TensorInfo* Safetensors::Find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

}  // namespace glint
