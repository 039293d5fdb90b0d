// Small Hugging Face checkpoints for tests: whole ones, and ones that are broken in a chosen way.
#ifndef GLINT_TEST_STORAGE_CHECKPOINT_CHECKPOINT_MAKER_H_
#define GLINT_TEST_STORAGE_CHECKPOINT_CHECKPOINT_MAKER_H_

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "glint/base/float16.h"
#include "glint/base/text.h"

namespace glint::test {

inline void WriteText(const std::string& path, std::string_view text) {
  std::ofstream file(path, std::ios::binary);
  file.write(text.data(), static_cast<std::streamsize>(text.size()));
  ASSERT_TRUE(file.good()) << path;
}

inline std::string ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string((std::istreambuf_iterator<char>(file)), {});
}

// A header with its length before it, and `data` behind it.
inline std::string SafetensorsBytes(const std::string& header, const std::string& data) {
  std::string bytes(8, '\0');
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<char>(header.size() >> (8 * i));
  return bytes + header + data;
}

struct MadeTensor {
  std::string name;
  std::vector<uint64_t> shape;
  std::vector<float> values;
};

inline uint16_t ToBfloat16(float value) { return static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16); }

// `values` as the bytes of `type`: "F32", "F16" or "BF16" (cut, not rounded).
inline std::string ElementBytes(const std::vector<float>& values, const std::string& type) {
  std::string bytes;
  for (const float value : values) {
    char raw[4];
    const uint16_t half = type == "F16" ? FloatToHalf(value) : ToBfloat16(value);
    if (type == "F32") {
      std::memcpy(raw, &value, 4);
    } else {
      std::memcpy(raw, &half, 2);
    }
    bytes.append(raw, type == "F32" ? 4 : 2);
  }
  return bytes;
}

inline std::string SafetensorsOf(const std::vector<MadeTensor>& tensors, const std::string& type) {
  std::string header = R"({"__metadata__":{"format":"pt"})";
  std::string data;
  for (const MadeTensor& tensor : tensors) {
    const size_t begin = data.size();
    data += ElementBytes(tensor.values, type);
    std::string shape;
    for (const uint64_t size : tensor.shape) shape += Concat(shape.empty() ? "" : ",", size);
    header += Concat(",\"", tensor.name, R"(":{"dtype":")", type, R"(","shape":[)", shape, R"(],"data_offsets":[)",
                     begin, ",", data.size(), "]}");
  }
  return SafetensorsBytes(header + "}", data);
}

// A random OPT of 2 layers. Change `config` or `tensors` before Write() to break it.
struct TinyOpt {
  static constexpr uint32_t kLayers = 2, kHidden = 24, kFfn = 40, kVocab = 11, kContext = 6;

  explicit TinyOpt(const std::string& prefix = "model.decoder.", uint32_t embedding = kHidden) {
    config = Concat(
        R"({"model_type":"opt","num_hidden_layers":2,"hidden_size":24,"ffn_dim":40,)",
        R"("num_attention_heads":4,"vocab_size":11,"max_position_embeddings":6)",
        embedding == kHidden ? "" : Concat(R"(,"do_layer_norm_before":false,"word_embed_proj_dim":)", embedding), "}");
    Add(prefix + "embed_tokens.weight", {kVocab, embedding});
    Add(prefix + "embed_positions.weight", {kContext + 2, kHidden});
    if (embedding == kHidden) {
      AddLinear(prefix + "final_layer_norm", {kHidden});
    } else {
      Add(prefix + "project_in.weight", {kHidden, embedding});
      Add(prefix + "project_out.weight", {embedding, kHidden});
    }
    for (uint32_t layer = 0; layer < kLayers; ++layer) {
      const std::string block = Concat(prefix, "layers.", layer, ".");
      AddLinear(block + "self_attn_layer_norm", {kHidden});
      for (const char* role : {"q_proj", "k_proj", "v_proj", "out_proj"}) {
        AddLinear(block + "self_attn." + role, {kHidden, kHidden});
      }
      AddLinear(block + "final_layer_norm", {kHidden});
      AddLinear(block + "fc1", {kFfn, kHidden});
      AddLinear(block + "fc2", {kHidden, kFfn});
    }
  }

  void Add(const std::string& name, std::vector<uint64_t> shape) {
    MadeTensor tensor{name, std::move(shape), {}};
    uint64_t count = 1;
    for (const uint64_t size : tensor.shape) count *= size;
    std::normal_distribution<float> normal(0.0F, 0.1F);
    for (uint64_t i = 0; i < count; ++i) tensor.values.push_back(normal(random));
    tensors.push_back(std::move(tensor));
  }
  void AddLinear(const std::string& name, const std::vector<uint64_t>& shape) {
    Add(name + ".weight", shape);
    Add(name + ".bias", {shape[0]});
  }
  MadeTensor& Get(const std::string& name) {
    for (MadeTensor& tensor : tensors) {
      if (tensor.name == name) return tensor;
    }
    ADD_FAILURE() << "no tensor " << name;
    return tensors[0];
  }
  void Remove(const std::string& name) {
    std::erase_if(tensors, [&name](const MadeTensor& tensor) { return tensor.name == name; });
  }

  void Write(const std::string& folder, const std::string& type = "F16") const {
    WriteText(folder + "/config.json", config);
    WriteText(folder + "/model.safetensors", SafetensorsOf(tensors, type));
  }
  // Every third tensor in a shard of its own.
  void WriteSharded(const std::string& folder, const std::string& type = "F16") const {
    WriteText(folder + "/config.json", config);
    std::vector<MadeTensor> shards[3];
    std::string map;
    for (size_t i = 0; i < tensors.size(); ++i) {
      shards[i % 3].push_back(tensors[i]);
      map += Concat(i == 0 ? "" : ",", "\"", tensors[i].name, "\":\"part-", i % 3, ".safetensors\"");
    }
    for (int i = 0; i < 3; ++i) {
      WriteText(Concat(folder, "/part-", i, ".safetensors"), SafetensorsOf(shards[i], type));
    }
    WriteText(folder + "/model.safetensors.index.json", "{\"metadata\":{},\"weight_map\":{" + map + "}}");
  }

  std::mt19937 random{17};
  std::string config;
  std::vector<MadeTensor> tensors;
};

}  // namespace glint::test

#endif  // GLINT_TEST_STORAGE_CHECKPOINT_CHECKPOINT_MAKER_H_
