// A loaded model: the file, the plan, and everything that sessions share. Owns the arena, the slots and the reader.
#ifndef GLINT_RUNTIME_MODEL_H_
#define GLINT_RUNTIME_MODEL_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "glint/base/log.h"
#include "glint/base/status.h"
#include "predictor/predictor.h"
#include "runtime/decoder.h"
#include "runtime/memory_plan.h"
#include "runtime/pinned_weights.h"
#include "runtime/sparse_ffn.h"
#include "runtime/thread_pool.h"
#include "runtime/turn_queue.h"
#include "storage/cache/neuron_cache.h"
#include "storage/flash/aligned_buffer.h"
#include "storage/format/model_file.h"
#include "tokenizer/tokenizer.h"

namespace glint {

enum class PredictorKind { kAuto, kExact, kAll };

struct ModelOptions {
  uint64_t budget_bytes = 0;  // 0: DefaultBudgetBytes
  uint32_t context_max = 0;   // 0: the smaller of the model's and 4096
  uint32_t sessions_max = 1;
  uint32_t threads = 0;  // 0: one per core that this process may use
  uint32_t batch_max = 64;
  uint32_t window_tokens = kWindowUnbounded;
  std::optional<uint32_t> slots_max;
  std::optional<uint32_t> gap_bytes_max;
  std::optional<uint64_t> staging_bytes_max;  // for tests and experiments with small waves
  PredictorKind predictor = PredictorKind::kAuto;
  IoEngineKind io = IoEngineKind::kAuto;
  const Kernels* kernels = nullptr;  // nullptr: the best
  bool measure_activity = false;
  LogSink log;
};

struct ModelStats {
  uint64_t held_bytes_max = 0;
  FlashReaderStats reader;
  BundleStreamStats stream;
  NeuronCacheStats cache;
  uint64_t tokens = 0;
  uint64_t predict_ns = 0;
  uint64_t compute_ns = 0;
};

// What one session holds of the model's memory.
struct SessionMemory {
  std::span<std::byte> kv;
  std::span<float> logits;     // [vocab]
  std::span<TokenId> history;  // [context]
  bool taken = false;
};

// The options as PlanMemory wants them, with what they leave open filled in; for `plan` too.
Result<MemoryRequest> ResolveRequest(const ModelDirectory& directory, const ModelOptions& options,
                                     uint64_t reader_held_bytes);

// Thread-safe: steps of sessions take turns, in the order in which they asked.
class Model {
 public:
  ~Model();  // REQUIRES: every session has been given back

  static Result<std::unique_ptr<Model>> Open(const std::string& path, const ModelOptions& options);
  static Result<std::unique_ptr<Model>> OpenFd(int fd, uint64_t offset, uint64_t bytes, const ModelOptions& options);
  static Result<std::unique_ptr<Model>> Create(ModelFile file, const ModelOptions& options);

  const ModelDirectory& directory() const { return file_.directory(); }
  const ModelConfig& config() const { return file_.directory().config; }
  const MemoryPlan& plan() const { return plan_; }
  const MemoryRequest& request() const { return request_; }
  const Predictor& predictor() const { return *predictor_; }
  const Kernels& kernels() const { return *kernels_; }
  const FlashReader& reader() const { return file_.reader(); }
  const Tokenizer* tokenizer_or_null() const { return tokenizer_ ? &*tokenizer_ : nullptr; }
  // Ids that may be sampled are below this.
  uint32_t sampled_vocab_size() const;
  bool IsEnd(TokenId token) const;
  ModelStats Stats() const;
  bool direct_io() const;  // reads bypass the page cache; a reader may give that up
  std::vector<LayerActivity> Activity() const;

  // A session's turn: between BeginTurn and the lock's end it may Step and then ask for the Logits of that step's
  // tokens.
  [[nodiscard]] std::unique_lock<TurnQueue> BeginTurn() { return std::unique_lock(turns_); }
  // Computes at most plan().batch_max tokens. REQUIRES: a turn.
  Status Step(std::span<const TokenId> tokens, uint32_t position, KvCache* kv, const std::atomic<bool>& cancel);
  void Logits(uint32_t index, std::span<float> out);

  // What a session holds, and gives back where it ends. nullptr where all are taken.
  struct GiveBack {
    Model* model;
    void operator()(SessionMemory* memory) const { model->ReturnSession(memory); }
  };
  using SessionLease = std::unique_ptr<SessionMemory, GiveBack>;
  SessionLease TakeSessionOrNull();

 private:
  explicit Model(ModelFile file) : file_(std::move(file)) {}
  Status Load(const ModelOptions& options);
  Status LoadFirstRows(std::vector<FfnLayer>* layers, Arena* arena);
  void ReturnSession(SessionMemory* memory);

  ModelFile file_;
  MemoryRequest request_;
  MemoryPlan plan_;
  AlignedBuffer memory_;
  std::optional<ModelTables> tables_;
  std::optional<Tokenizer> tokenizer_;
  PinnedWeights weights_;
  DecoderBuffers buffers_;
  std::vector<FfnOnFlash> flash_;
  std::vector<SessionMemory> sessions_;
  const Kernels* kernels_ = nullptr;
  std::unique_ptr<ThreadPool> pool_;
  std::unique_ptr<Predictor> predictor_;
  std::unique_ptr<BundleStream> stream_;
  std::unique_ptr<NeuronCache> cache_;
  std::unique_ptr<SparseFfn> ffn_;
  std::unique_ptr<Decoder> decoder_;
  mutable TurnQueue turns_;             // guards all that a step changes, and the sessions' memory
  BundleStreamStats streamed_at_open_;  // what opening streamed; the stats are of steps
  uint64_t tokens_ = 0;
  uint64_t step_ns_ = 0;
};

}  // namespace glint

#endif  // GLINT_RUNTIME_MODEL_H_
