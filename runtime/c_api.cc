// glint.h over Model and Session. Nothing is decided here: options are translated, errors copied out.
#include <algorithm>
#include <cstring>
#include <exception>
#include <new>

#include "glint/base/text.h"
#include "glint/glint.h"
#include "runtime/c_api_options.h"
#include "runtime/model.h"
#include "runtime/session.h"

struct glint_model {
  std::unique_ptr<glint::Model> model;
};

struct glint_session {
  std::unique_ptr<glint::Session> session;
};

namespace glint {
namespace {

static_assert(static_cast<int>(StatusCode::kInvalidArgument) == GLINT_INVALID_ARGUMENT);
static_assert(static_cast<int>(StatusCode::kNotFound) == GLINT_NOT_FOUND);
static_assert(static_cast<int>(StatusCode::kCorruptData) == GLINT_CORRUPT_DATA);
static_assert(static_cast<int>(StatusCode::kUnsupported) == GLINT_UNSUPPORTED);
static_assert(static_cast<int>(StatusCode::kOutOfBudget) == GLINT_OUT_OF_BUDGET);
static_assert(static_cast<int>(StatusCode::kIoError) == GLINT_IO_ERROR);
static_assert(static_cast<int>(StatusCode::kCancelled) == GLINT_CANCELLED);
static_assert(static_cast<int>(StatusCode::kInternal) == GLINT_INTERNAL);

// Copies the status to the caller's error, as much as its struct_size has room for.
glint_status Report(const Status& status, glint_error* error) {
  const auto code = static_cast<glint_status>(status.code());
  if (error == nullptr || error->struct_size <= offsetof(glint_error, message)) return code;
  error->status = code;
  const size_t room = std::min(error->struct_size, sizeof(glint_error)) - offsetof(glint_error, message);
  const size_t length = std::min(status.message().size(), room - 1);
  std::memcpy(error->message, status.message().data(), length);
  error->message[length] = '\0';
  return code;
}

// Runs `body` and turns what it returns, or what a library throws in it, into the caller's error.
template <typename Body>
glint_status Guarded(glint_error* error, const Body& body) {
  try {
    return Report(body(), error);
  } catch (const std::bad_alloc&) {
    return Report(OutOfBudget("the system has no memory left"), error);
  } catch (const std::exception& thrown) {
    return Report(Internal(thrown.what()), error);
  }
}

// The caller's struct may be older (shorter) or newer (longer) than ours: what both have is copied.
template <typename Struct>
Result<Struct> ReadStruct(const Struct* theirs, void (*init)(Struct*), const char* name) {
  Struct ours;
  init(&ours);
  if (theirs == nullptr) return ours;
  if (theirs->struct_size < sizeof(size_t)) {
    return InvalidArgument(Concat(name, ".struct_size is not set; call ", name, "_init first"));
  }
  std::memcpy(static_cast<void*>(&ours), theirs, std::min(theirs->struct_size, sizeof(Struct)));
  return ours;
}

template <typename Struct>
Status WriteStruct(Struct ours, Struct* theirs, const char* name) {
  if (theirs == nullptr || theirs->struct_size < sizeof(size_t)) {
    return InvalidArgument(Concat(name, ": the struct is missing or its struct_size is not set"));
  }
  ours.struct_size = theirs->struct_size;
  std::memcpy(static_cast<void*>(theirs), &ours, std::min(theirs->struct_size, sizeof(Struct)));
  return Status::Ok();
}

// What a C caller stored in an enum may be none of its values, and C++ may not even look at such a one as that enum.
template <typename Enum>
int NumberOf(const Enum& theirs) {
  int number = 0;
  static_assert(sizeof(Enum) == sizeof number);
  std::memcpy(&number, &theirs, sizeof number);
  return number;
}

Result<const Tokenizer*> TokenizerOf(const glint_model* model) {
  const Tokenizer* tokenizer = model->model->tokenizer_or_null();
  if (tokenizer == nullptr) return Unsupported("the model has no tokenizer; use token ids");
  return tokenizer;
}

Status MissingArgument(const char* function) { return InvalidArgument(Concat(function, ": an argument is NULL")); }

template <typename Open>
glint_status OpenModel(const glint_model_options* options, glint_model** out_model, glint_error* error,
                       const Open& open) {
  return Guarded(error, [&]() -> Status {
    GLINT_ASSIGN_OR_RETURN(const ModelOptions translated, ModelOptionsFromC(options));
    GLINT_ASSIGN_OR_RETURN(std::unique_ptr<Model> model, open(translated));
    *out_model = new glint_model{std::move(model)};
    return Status::Ok();
  });
}

}  // namespace

Result<ModelOptions> ModelOptionsFromC(const glint_model_options* theirs) {
  GLINT_ASSIGN_OR_RETURN(const glint_model_options given,
                         ReadStruct(theirs, glint_model_options_init, "glint_model_options"));
  ModelOptions options;
  options.budget_bytes = given.budget_bytes;
  options.context_max = given.context_max;
  options.sessions_max = given.sessions_max;
  options.threads = given.threads;
  options.batch_max = given.batch_max;
  options.window_tokens = given.window_tokens;
  if (given.slots_max != GLINT_AUTO) options.slots_max = given.slots_max;
  if (given.gap_bytes_max != GLINT_AUTO) options.gap_bytes_max = given.gap_bytes_max;
  switch (NumberOf(given.predictor)) {
    case GLINT_PREDICTOR_AUTO: options.predictor = PredictorKind::kAuto; break;
    case GLINT_PREDICTOR_EXACT: options.predictor = PredictorKind::kExact; break;
    case GLINT_PREDICTOR_ALL: options.predictor = PredictorKind::kAll; break;
    default: return InvalidArgument(Concat("predictor ", NumberOf(given.predictor), " is not known"));
  }
  switch (NumberOf(given.io)) {
    case GLINT_IO_AUTO: options.io = IoEngineKind::kAuto; break;
    case GLINT_IO_URING: options.io = IoEngineKind::kUring; break;
    case GLINT_IO_PREAD: options.io = IoEngineKind::kPread; break;
    default: return InvalidArgument(Concat("io ", NumberOf(given.io), " is not known"));
  }
  if (given.log != nullptr) {
    options.log = [log = given.log, user = given.log_user](std::string_view line) {
      log(user, std::string(line).c_str());
    };
  }
  return options;
}

}  // namespace glint

using namespace glint;  // NOLINT: the functions below are C's and cannot be in a namespace

const char* glint_version(void) { return GLINT_VERSION; }

void glint_model_options_init(glint_model_options* options) {
  const ModelOptions defaults;
  *options = glint_model_options{};
  options->struct_size = sizeof(glint_model_options);
  options->sessions_max = defaults.sessions_max;
  options->batch_max = defaults.batch_max;
  options->window_tokens = defaults.window_tokens;
  options->slots_max = GLINT_AUTO;
  options->gap_bytes_max = GLINT_AUTO;
}

glint_status glint_model_open(const char* path, const glint_model_options* options, glint_model** out_model,
                              glint_error* error) {
  if (path == nullptr || out_model == nullptr) return Report(MissingArgument("glint_model_open"), error);
  return OpenModel(options, out_model, error, [&](const ModelOptions& o) { return Model::Open(path, o); });
}

glint_status glint_model_open_fd(int fd, uint64_t offset, uint64_t bytes, const glint_model_options* options,
                                 glint_model** out_model, glint_error* error) {
  if (out_model == nullptr) return Report(MissingArgument("glint_model_open_fd"), error);
  return OpenModel(options, out_model, error,
                   [&](const ModelOptions& o) { return Model::OpenFd(fd, offset, bytes, o); });
}

void glint_model_close(glint_model** model) {
  if (model == nullptr) return;
  delete *model;
  *model = nullptr;
}

glint_status glint_model_get_info(const glint_model* model, glint_model_info* out_info, glint_error* error) {
  if (model == nullptr) return Report(MissingArgument("glint_model_get_info"), error);
  return Guarded(error, [&] {
    const Model& m = *model->model;
    const ModelConfig& config = m.config();
    glint_model_info info{};
    info.name = config.name.c_str();
    info.architecture = config.architecture.c_str();
    info.weight_type = WeightTypeName(m.directory().type).data();
    info.predictor = m.predictor().name().data();
    info.io_engine = m.reader().engine_name().data();
    info.kernels = m.kernels().name.data();
    info.file_bytes = m.directory().file_bytes;
    info.budget_bytes = m.request().budget_bytes;
    info.model_hash = m.directory().hash;
    info.layer_count = config.layer_count;
    info.hidden_size = config.hidden_size;
    info.ffn_size = config.ffn_size;
    info.vocab_size = config.vocab_size;
    info.context_max = m.request().context;
    info.batch_max = m.plan().batch_max;
    info.threads = m.request().threads;
    info.token_bytes_max = m.tokenizer_or_null() != nullptr ? m.tokenizer_or_null()->token_bytes_max() : 0;
    info.bos = config.bos_id;
    info.has_tokenizer = m.tokenizer_or_null() != nullptr ? 1 : 0;
    info.synthetic = config.synthetic ? 1 : 0;
    info.direct_io = m.direct_io() ? 1 : 0;
    return WriteStruct(info, out_info, "glint_model_info");
  });
}

glint_status glint_model_get_stats(const glint_model* model, glint_stats* out_stats, glint_error* error) {
  if (model == nullptr) return Report(MissingArgument("glint_model_get_stats"), error);
  return Guarded(error, [&] {
    const ModelStats counted = model->model->Stats();
    glint_stats stats{};
    stats.held_bytes_max = counted.held_bytes_max;
    stats.flash_read_bytes = counted.reader.flash_read_bytes;
    stats.flash_reads = counted.reader.flash_reads;
    stats.missed_bundle_bytes = counted.stream.missed_bundle_bytes;
    stats.cache_hits = counted.cache.cache_hits;
    stats.cache_misses = counted.cache.cache_misses;
    stats.tokens = counted.tokens;
    stats.stall_ns = counted.stream.stall_ns;
    stats.compute_ns = counted.compute_ns;
    stats.predict_ns = counted.predict_ns;
    stats.verify_ns = counted.stream.verify_ns;
    return WriteStruct(stats, out_stats, "glint_stats");
  });
}

glint_status glint_tokenize(const glint_model* model, const char* text, size_t text_bytes, int parse_special,
                            glint_token* out_tokens, size_t capacity, size_t* out_count, glint_error* error) {
  if (model == nullptr || out_count == nullptr || (text == nullptr && text_bytes != 0) ||
      (out_tokens == nullptr && capacity != 0)) {
    return Report(MissingArgument("glint_tokenize"), error);
  }
  return Guarded(error, [&]() -> Status {
    GLINT_ASSIGN_OR_RETURN(const Tokenizer* tokenizer, TokenizerOf(model));
    std::vector<TokenId> ids;
    GLINT_RETURN_IF_ERROR(tokenizer->Encode({text, text_bytes}, parse_special != 0, &ids));
    *out_count = ids.size();
    if (ids.size() > capacity) {
      return InvalidArgument(Concat("the text has ", ids.size(), " tokens; there is room for ", capacity));
    }
    std::copy(ids.begin(), ids.end(), out_tokens);
    return Status::Ok();
  });
}

glint_status glint_token_text(const glint_model* model, glint_token token, const char** out_text, size_t* out_bytes,
                              glint_error* error) {
  if (model == nullptr || out_text == nullptr || out_bytes == nullptr) {
    return Report(MissingArgument("glint_token_text"), error);
  }
  return Guarded(error, [&]() -> Status {
    GLINT_ASSIGN_OR_RETURN(const Tokenizer* tokenizer, TokenizerOf(model));
    const std::string_view text = tokenizer->IsSpecial(token) ? std::string_view("") : tokenizer->TokenBytes(token);
    *out_text = text.data();
    *out_bytes = text.size();
    return Status::Ok();
  });
}

int glint_token_is_end(const glint_model* model, glint_token token) {
  return model != nullptr && model->model->IsEnd(token) ? 1 : 0;
}

glint_status glint_session_open(glint_model* model, glint_session** out_session, glint_error* error) {
  if (model == nullptr || out_session == nullptr) return Report(MissingArgument("glint_session_open"), error);
  return Guarded(error, [&]() -> Status {
    GLINT_ASSIGN_OR_RETURN(std::unique_ptr<Session> session, Session::Open(model->model.get()));
    *out_session = new glint_session{std::move(session)};
    return Status::Ok();
  });
}

void glint_session_close(glint_session** session) {
  if (session == nullptr) return;
  delete *session;
  *session = nullptr;
}

glint_status glint_session_feed(glint_session* session, const glint_token* tokens, size_t count, glint_error* error) {
  if (session == nullptr || (tokens == nullptr && count != 0)) {
    return Report(MissingArgument("glint_session_feed"), error);
  }
  return Guarded(error, [&] { return session->session->Feed({tokens, count}); });
}

uint32_t glint_session_position(const glint_session* session) {
  return session != nullptr ? session->session->position() : 0;
}

glint_status glint_session_rewind(glint_session* session, uint32_t position, glint_error* error) {
  if (session == nullptr) return Report(MissingArgument("glint_session_rewind"), error);
  return Guarded(error, [&] { return session->session->Rewind(position); });
}

glint_status glint_session_logits(glint_session* session, const float** out_logits, size_t* out_count,
                                  glint_error* error) {
  if (session == nullptr || out_logits == nullptr || out_count == nullptr) {
    return Report(MissingArgument("glint_session_logits"), error);
  }
  return Guarded(error, [&]() -> Status {
    GLINT_ASSIGN_OR_RETURN(const std::span<const float> logits, session->session->Logits());
    *out_logits = logits.data();
    *out_count = logits.size();
    return Status::Ok();
  });
}

void glint_sampler_options_init(glint_sampler_options* options) {
  const SamplerOptions defaults;
  *options = glint_sampler_options{};
  options->struct_size = sizeof(glint_sampler_options);
  options->temperature = defaults.temperature;
  options->top_k = defaults.top_k;
  options->top_p = defaults.top_p;
  options->min_p = defaults.min_p;
  options->repeat_penalty = defaults.repeat_penalty;
  options->repeat_last = defaults.repeat_last;
  options->seed = defaults.seed;
}

glint_status glint_session_set_sampler(glint_session* session, const glint_sampler_options* options,
                                       glint_error* error) {
  if (session == nullptr || options == nullptr) return Report(MissingArgument("glint_session_set_sampler"), error);
  return Guarded(error, [&]() -> Status {
    GLINT_ASSIGN_OR_RETURN(const glint_sampler_options given,
                           ReadStruct(options, glint_sampler_options_init, "glint_sampler_options"));
    return session->session->SetSampler({.temperature = given.temperature,
                                         .top_k = given.top_k,
                                         .top_p = given.top_p,
                                         .min_p = given.min_p,
                                         .repeat_penalty = given.repeat_penalty,
                                         .repeat_last = given.repeat_last,
                                         .seed = given.seed});
  });
}

glint_status glint_session_sample(glint_session* session, glint_token* out_token, glint_error* error) {
  if (session == nullptr || out_token == nullptr) return Report(MissingArgument("glint_session_sample"), error);
  return Guarded(error, [&]() -> Status {
    GLINT_ASSIGN_OR_RETURN(*out_token, session->session->Sample());
    return Status::Ok();
  });
}

glint_status glint_session_show(glint_session* session, glint_token token, const char** out_text, size_t* out_bytes,
                                glint_error* error) {
  if (session == nullptr || out_text == nullptr || out_bytes == nullptr) {
    return Report(MissingArgument("glint_session_show"), error);
  }
  return Guarded(error, [&]() -> Status {
    GLINT_ASSIGN_OR_RETURN(const std::string_view text, session->session->Show(token));
    *out_text = text.data();
    *out_bytes = text.size();
    return Status::Ok();
  });
}

uint64_t glint_session_logits_hash(const glint_session* session) {
  return session != nullptr ? session->session->logits_hash() : 0;
}

void glint_session_cancel(glint_session* session) {
  if (session != nullptr) session->session->Cancel();
}
