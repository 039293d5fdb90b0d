#include "runtime/model.h"

#include <sched.h>

#include <algorithm>
#include <chrono>

#include "glint/base/check.h"
#include "glint/base/text.h"
#include "glint/base/units.h"
#include "runtime/default_budget.h"

namespace glint {

namespace {

constexpr uint32_t kDefaultContextMax = 4096;

uint32_t AllowedCores() {
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof cores, &cores) != 0) return 1;
  return std::clamp(static_cast<uint32_t>(CPU_COUNT(&cores)), 1U, kThreadsMax);
}

// auto is lossless: exact where the activation has exact zeros.
std::unique_ptr<Predictor> MakePredictor(PredictorKind kind, Activation activation) {
  const bool exact_zeros = activation == Activation::kRelu;
  if (kind == PredictorKind::kAll || (kind == PredictorKind::kAuto && !exact_zeros)) return MakeAllActivePredictor();
  return MakeExactPredictor();
}

BundleStreamOptions StreamOptions(const ModelOptions& options) {
  BundleStreamOptions stream;
  if (options.gap_bytes_max) stream.gap_bytes_max = *options.gap_bytes_max;
  return stream;
}

}  // namespace

Result<MemoryRequest> ResolveRequest(const ModelDirectory& directory, const ModelOptions& options,
                                     uint64_t reader_held_bytes) {
  if (options.threads > kThreadsMax) {
    return InvalidArgument(Concat(options.threads, " threads are too many; at most ", kThreadsMax));
  }
  if (options.sessions_max == 0 || options.sessions_max > kSessionsMax) {
    return InvalidArgument(Concat("sessions_max must be 1 to ", kSessionsMax, ", got ", options.sessions_max));
  }
  if (options.batch_max == 0) return InvalidArgument("batch_max must be at least 1");
  MemoryRequest request;
  request.budget_bytes = options.budget_bytes;
  if (request.budget_bytes == 0) {
    GLINT_ASSIGN_OR_RETURN(request.budget_bytes, DefaultBudgetBytes());
  }
  request.context =
      options.context_max == 0 ? std::min(directory.config.context_max, kDefaultContextMax) : options.context_max;
  request.sessions_max = options.sessions_max;
  request.threads = options.threads == 0 ? AllowedCores() : options.threads;
  request.batch_max = std::min(options.batch_max, request.context);
  request.window_tokens = options.window_tokens;
  request.slots_max = options.slots_max;
  request.staging_bytes_max = options.staging_bytes_max;
  request.rows_known_first = MakePredictor(options.predictor, directory.config.activation)->needs_first_activations();
  request.reader_held_bytes = reader_held_bytes;
  request.gap_bytes_max = StreamOptions(options).gap_bytes_max;
  return request;
}

Result<std::unique_ptr<Model>> Model::Open(const std::string& path, const ModelOptions& options) {
  GLINT_ASSIGN_OR_RETURN(ModelFile file, ModelFile::Open(path, {.io = options.io, .log = options.log}));
  return Create(std::move(file), options);
}

Result<std::unique_ptr<Model>> Model::OpenFd(int fd, uint64_t offset, uint64_t bytes, const ModelOptions& options) {
  GLINT_ASSIGN_OR_RETURN(ModelFile file, ModelFile::OpenFd(fd, offset, bytes, {.io = options.io, .log = options.log}));
  return Create(std::move(file), options);
}

Result<std::unique_ptr<Model>> Model::Create(ModelFile file, const ModelOptions& options) {
  std::unique_ptr<Model> model(new Model(std::move(file)));
  GLINT_RETURN_IF_ERROR(model->Load(options));
  return model;
}

// A session would go on using what is freed here.
Model::~Model() {
  for (const SessionMemory& session : sessions_) GLINT_CHECK(!session.taken);
}

// Plans, takes all memory, and fills it with what is pinned.
Status Model::Load(const ModelOptions& options) {
  if (config().gated) return Unsupported(Concat(file_.name(), ": gated feed-forward layers are not supported yet"));
  GLINT_ASSIGN_OR_RETURN(request_, ResolveRequest(directory(), options, file_.reader().held_bytes()));
  GLINT_ASSIGN_OR_RETURN(plan_, PlanMemory(directory(), request_));
  GLINT_ASSIGN_OR_RETURN(memory_, AlignedBuffer::Allocate(plan_.shares.Total()));
  const FloatEnvironment float_environment;
  Arena arena(memory_.span());

  GLINT_ASSIGN_OR_RETURN(tables_,
                         ModelTables::Load(file_, arena.Take(ModelTables::BytesNeeded(directory()), kPageBytes)));
  if (const Section& section = directory().tokenizer; section.extent.bytes != 0) {
    const std::span<std::byte> bytes = arena.Take(AlignUp(section.extent.bytes, kPageBytes), kPageBytes);
    GLINT_RETURN_IF_ERROR(file_.LoadSection(section, "tokenizer", bytes));
    GLINT_ASSIGN_OR_RETURN(tokenizer_, Tokenizer::Open(bytes.first(section.extent.bytes), file_.name()));
  }
  GLINT_ASSIGN_OR_RETURN(weights_, PinnedWeights::Load(&file_, *tables_, &arena));

  kernels_ = options.kernels != nullptr ? options.kernels : &BestKernels();
  GLINT_ASSIGN_OR_RETURN(pool_, ThreadPool::Create(request_.threads));
  predictor_ = MakePredictor(options.predictor, config().activation);
  buffers_ = DecoderBuffers::Take(config(), plan_.batch_max, request_.threads, plan_.quantized, &arena);

  uint32_t bundles_max = 0;
  for (const FfnEntry& entry : directory().ffn) {
    flash_.push_back({&entry, tables_->Checksums(entry.first_checksums), tables_->Checksums(entry.rest_checksums)});
    bundles_max = std::max(bundles_max, entry.layout.bundle_count());
  }
  const BundleStreamOptions stream_options = StreamOptions(options);
  stream_ =
      std::make_unique<BundleStream>(&file_, arena.Take(plan_.staging_bytes, kPageBytes), bundles_max, stream_options);
  cache_ = std::make_unique<NeuronCache>(
      flash_, plan_.slots_per_layer, arena.Take(plan_.slot_arena_bytes, kPageBytes), stream_.get(),
      NeuronCacheOptions{.part = plan_.slot_part, .window_tokens = request_.window_tokens});

  std::vector<FfnLayer> layers;
  for (uint32_t i = 0; i < config().layer_count; ++i) {
    layers.push_back({.layout = &directory().ffn[i].layout,
                      .flash = flash_[i],
                      .first_bias = weights_.layers[i].first_bias,
                      .first_pinned_count = plan_.first_pinned[i]});
  }
  GLINT_RETURN_IF_ERROR(LoadFirstRows(&layers, &arena));
  streamed_at_open_ = stream_->stats();
  ffn_ = std::make_unique<SparseFfn>(SparseFfn::Parts{.kernels = kernels_,
                                                      .pool = pool_.get(),
                                                      .predictor = predictor_.get(),
                                                      .stream = stream_.get(),
                                                      .cache = cache_.get(),
                                                      .buffers = &buffers_,
                                                      .gap_bytes_max = stream_options.gap_bytes_max,
                                                      .measure_activity = options.measure_activity},
                                     std::move(layers));
  decoder_ = std::make_unique<Decoder>(config(), weights_, *kernels_, pool_.get(), ffn_.get(), &buffers_);

  const uint64_t kv_bytes = plan_.shares.kv / request_.sessions_max;
  for (uint32_t i = 0; i < request_.sessions_max; ++i) {
    sessions_.push_back({.kv = arena.Take(kv_bytes, kPageBytes),
                         .logits = arena.TakeArray<float>(config().vocab_size),
                         .history = arena.TakeArray<TokenId>(request_.context)});
  }
  return Status::Ok();
}

// Copies the first granules that the plan pins out of the stream. Opening waits for flash anyway, so nothing overlaps.
Status Model::LoadFirstRows(std::vector<FfnLayer>* layers, Arena* arena) {
  std::vector<BundleIndex> bundles;
  for (FfnLayer& layer : *layers) {
    if (layer.first_pinned_count == 0) continue;
    const uint64_t granule_bytes = layer.layout->PartBytes(BundlePart::kFirst);
    const std::span<std::byte> pinned = arena->Take(layer.first_pinned_count * granule_bytes, kPageBytes);
    layer.first_pinned = pinned;
    bundles.clear();
    for (uint32_t i = 0; i < layer.first_pinned_count; ++i) bundles.push_back(BundleIndex(i));
    stream_->Begin(layer.flash, BundlePart::kFirst, bundles);
    const auto copy_all = [&]() -> Status {
      while (true) {
        GLINT_ASSIGN_OR_RETURN(const std::span<const BundleIndex> wave, stream_->NextWave());
        if (wave.empty()) return Status::Ok();
        while (true) {
          GLINT_ASSIGN_OR_RETURN(const std::span<const BundleView> views, stream_->Arrivals());
          if (views.empty()) break;
          for (const BundleView& view : views) {
            const uint64_t bytes = layer.layout->ExtentOf(view.bundle, BundlePart::kFirst).bytes;
            std::copy_n(view.first, bytes, pinned.data() + view.bundle.value * granule_bytes);
          }
        }
      }
    };
    const Status copied = copy_all();
    stream_->End();
    GLINT_RETURN_IF_ERROR(copied);
  }
  return Status::Ok();
}

uint32_t Model::sampled_vocab_size() const {
  return tokenizer_ ? std::min(config().vocab_size, tokenizer_->vocab_size()) : config().vocab_size;
}

bool Model::IsEnd(TokenId token) const {
  return std::find(config().eos_ids.begin(), config().eos_ids.end(), token) != config().eos_ids.end();
}

Status Model::Step(std::span<const TokenId> tokens, uint32_t position, KvCache* kv, const std::atomic<bool>& cancel) {
  const auto begin = std::chrono::steady_clock::now();
  const Status status = decoder_->Forward(tokens, position, kv, cancel);
  step_ns_ += static_cast<uint64_t>((std::chrono::steady_clock::now() - begin) / std::chrono::nanoseconds(1));
  if (status.ok()) tokens_ += tokens.size();
  return status;
}

void Model::Logits(uint32_t index, std::span<float> out) {
  const auto begin = std::chrono::steady_clock::now();
  decoder_->Logits(index, out);
  step_ns_ += static_cast<uint64_t>((std::chrono::steady_clock::now() - begin) / std::chrono::nanoseconds(1));
}

bool Model::direct_io() const {
  const std::lock_guard turn(turns_);
  return file_.reader().file().direct();
}

ModelStats Model::Stats() const {
  const std::lock_guard turn(turns_);
  ModelStats stats{.held_bytes_max = plan_.shares.Total(),
                   .reader = file_.reader().stats(),
                   .stream = stream_->stats() - streamed_at_open_,
                   .cache = cache_->stats(),
                   .tokens = tokens_,
                   .predict_ns = ffn_->stats().predict_ns};
  const uint64_t elsewhere = stats.stream.stall_ns + stats.stream.verify_ns + stats.predict_ns;
  stats.compute_ns = step_ns_ - std::min(step_ns_, elsewhere);
  return stats;
}

std::vector<LayerActivity> Model::Activity() const {
  const std::lock_guard turn(turns_);
  return {ffn_->activity().begin(), ffn_->activity().end()};
}

Model::SessionLease Model::TakeSessionOrNull() {
  const std::lock_guard turn(turns_);
  const auto free = std::find_if(sessions_.begin(), sessions_.end(), [](const SessionMemory& s) { return !s.taken; });
  if (free == sessions_.end()) return {nullptr, {this}};
  free->taken = true;
  return {&*free, {this}};
}

void Model::ReturnSession(SessionMemory* memory) {
  const std::lock_guard turn(turns_);
  memory->taken = false;
}

}  // namespace glint
