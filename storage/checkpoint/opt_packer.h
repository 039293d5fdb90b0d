// From a Hugging Face OPT folder to a model file, in bounded memory whatever the model's size.
#ifndef GLINT_STORAGE_CHECKPOINT_OPT_PACKER_H_
#define GLINT_STORAGE_CHECKPOINT_OPT_PACKER_H_

#include <atomic>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "glint/base/log.h"
#include "glint/base/status.h"
#include "storage/format/model_directory.h"
#include "storage/format/model_file.h"

namespace glint {

struct PackOptions {
  WeightType type = WeightType::kF16;
  std::span<const std::byte> tokenizer_section;  // empty: a model without a tokenizer
  Progress progress;                             // of source bytes; called about every 4 MiB
  LogSink log;                                   // tensors that were not used
  const std::atomic<bool>* cancel = nullptr;     // set from anywhere: ends with kCancelled, and no file
};

// Packs the checkpoint in `folder` to the model file `path`. Returns the directory as written. On any error nothing is
// left at `path` but what was there before.
Result<ModelDirectory> PackOpt(const std::string& folder, const std::string& path, const PackOptions& options);

// The type in which tensor `name` ("token_embd.weight") is stored when `pack_type` is asked for.
WeightType TypeOf(std::string_view name, WeightType pack_type);

}  // namespace glint

#endif  // GLINT_STORAGE_CHECKPOINT_OPT_PACKER_H_
