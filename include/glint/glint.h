/* glint: runs language models larger than the memory they are given. This header is the whole public API and its
 * manual.
 *
 * A model is a loaded model file: immutable, shared, thread-safe. A session is one timeline of tokens over it: used by
 * one thread at a time (but for glint_session_cancel); sessions of one model may be opened, fed and closed from
 * different threads. Their batches take turns, in the order in which they ask; opening and closing a session, the info
 * and the stats wait for such a turn too.
 *
 *     glint_error error = GLINT_ERROR_INIT;
 *     glint_model_options options;
 *     glint_model_options_init(&options);
 *     options.budget_bytes = 512000000;
 *     glint_model* model = NULL;
 *     if (glint_model_open("model.glint", &options, &model, &error) != GLINT_OK) { fputs(error.message, stderr); ... }
 *     glint_session* session = NULL;
 *     glint_session_open(model, &session, &error);
 *     glint_session_feed(session, prompt_tokens, prompt_count, &error);
 *     glint_session_sample(session, &token, &error);   ... feed it, sample the next ...
 *     glint_session_close(&session);
 *     glint_model_close(&model);
 *
 * Conventions. Structs that may grow begin with struct_size. Options have an _init function that sets it; of an error
 * (GLINT_ERROR_INIT), an info and stats the caller sets it to the struct's sizeof. Programs built with an older header
 * go on working: fields beyond their struct_size are neither read (their defaults hold) nor written. Functions that can
 * fail return a glint_status and, where they did and `error` is not NULL, fill in the caller's glint_error; after
 * success it says GLINT_OK. Arguments named out_... are written only on success, but where it says otherwise. Close
 * functions take the address of a handle, accept NULL in it, and leave NULL. Other functions refuse NULL for what they
 * need: GLINT_INVALID_ARGUMENT, or 0 where they return a number. Text is UTF-8 with a length in bytes; sizes are bytes.
 * Notices go to the log function alone; the threads that glint starts leave signals to the caller's.
 *
 * The promise: the budget changes the speed, never the answer. Logits depend on the model file, the token ids and the
 * named predictor; not on budget, threads, batch, reader, cache or other sessions. */
#ifndef GLINT_GLINT_H_
#define GLINT_GLINT_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum glint_status {
  GLINT_OK = 0,
  GLINT_INVALID_ARGUMENT = 1, /* the caller asked for something that cannot be */
  GLINT_NOT_FOUND = 2,        /* a file is absent */
  GLINT_CORRUPT_DATA = 3,     /* bytes do not match their checksum or description; also logits that are not numbers */
  GLINT_UNSUPPORTED = 4,      /* well-formed, but not something this build can do */
  GLINT_OUT_OF_BUDGET = 5,    /* the message names the least budget that would do */
  GLINT_IO_ERROR = 6,         /* the operating system failed an operation */
  GLINT_CANCELLED = 7,        /* glint_session_cancel was called */
  GLINT_INTERNAL = 8
} glint_status;

/* Owned by the caller. `message` is one line, cut to fit: what, where (file, offset), wanted, got, what to do. */
typedef struct glint_error {
  size_t struct_size;
  glint_status status;
  char message[1024];
} glint_error;
#define GLINT_ERROR_INIT \
  { sizeof(glint_error), GLINT_OK, "" }

/* Returns the library's version, for example "0.1.0". */
const char* glint_version(void);

typedef int32_t glint_token; /* 0 .. vocab_size - 1; -1: none */

typedef struct glint_model glint_model;
typedef struct glint_session glint_session;

/* --- models --------------------------------------------------------------------------------------------------------
 */

typedef enum glint_predictor {
  GLINT_PREDICTOR_AUTO = 0,  /* lossless: exact where the model's activation has exact zeros, else all */
  GLINT_PREDICTOR_EXACT = 1, /* computes the rows known first, then reads the rest of the active neurons only */
  GLINT_PREDICTOR_ALL = 2    /* every neuron, every token */
} glint_predictor;

typedef enum glint_io {
  GLINT_IO_AUTO = 0, /* io_uring where the kernel allows it, else the pread pool */
  GLINT_IO_URING = 1,
  GLINT_IO_PREAD = 2
} glint_io;

/* Receives one line without newline while a model is opened, or when a reader falls back; from the calling thread. */
typedef void (*glint_log_function)(void* user, const char* line);

#define GLINT_AUTO UINT32_MAX

typedef struct glint_model_options {
  size_t struct_size;
  uint64_t budget_bytes;  /* most that may be held; 0: 75% of the available memory or the cgroup's limit less 64 MiB */
  uint32_t context_max;   /* positions of each session, at most the model's; 0: the smaller of the model's and 4096 */
  uint32_t sessions_max;  /* sessions that may be open at once, 1 to 1024; their KV caches are part of the budget */
  uint32_t threads;       /* that compute, at most 64; 0: one per core that this process may use */
  uint32_t batch_max;     /* tokens computed together while feeding, at least 1; a tight budget makes it smaller */
  uint32_t window_tokens; /* neurons that the last so many tokens used keep their slots; 0: no cache; GLINT_AUTO: as
                           * many tokens as the slots have room for */
  uint32_t slots_max;     /* slots of the neuron cache over all layers; GLINT_AUTO: as many as the budget has */
  uint32_t gap_bytes_max; /* unwanted bytes worth reading to join two reads; 0: off; GLINT_AUTO: the default */
  glint_predictor predictor;
  glint_io io;
  glint_log_function log; /* NULL: no log */
  void* log_user;
} glint_model_options;

/* Sets struct_size and the defaults: budget 0, context 0, 1 session, threads 0, batch 64, the rest automatic. */
void glint_model_options_init(glint_model_options* options);

/* Opens a model file made by `glint pack`. `options` may be NULL: the defaults. All memory is taken here; nothing is
 * allocated while tokens are computed. */
glint_status glint_model_open(const char* path, const glint_model_options* options, glint_model** out_model,
                              glint_error* error);

/* The same for `bytes` bytes at `offset` of an open file (an asset in an Android package); bytes 0: to its end. `fd`
 * stays the caller's and may be closed afterwards. */
glint_status glint_model_open_fd(int fd, uint64_t offset, uint64_t bytes, const glint_model_options* options,
                                 glint_model** out_model, glint_error* error);

/* REQUIRES: its sessions are closed; else the process is aborted rather than left to use freed memory. */
void glint_model_close(glint_model** model);

typedef struct glint_model_info {
  size_t struct_size;
  const char* name;         /* valid while the model is open */
  const char* architecture; /* "opt" */
  const char* weight_type;  /* "f16", "q8_0", "q4_0" */
  const char* predictor;    /* in effect: "exact", "all" */
  const char* io_engine;    /* in effect: "uring", "pread" */
  const char* kernels;      /* in effect: "avx512", "avx2", "portable" */
  uint64_t file_bytes;
  uint64_t budget_bytes; /* in effect */
  uint64_t model_hash;
  uint32_t layer_count;
  uint32_t hidden_size;
  uint32_t ffn_size;
  uint32_t vocab_size;
  uint32_t context_max;     /* in effect */
  uint32_t batch_max;       /* in effect */
  uint32_t threads;         /* in effect */
  uint32_t token_bytes_max; /* of the longest token's text: longer texts than context_max of these cannot fit */
  glint_token bos;          /* -1: none */
  int32_t has_tokenizer;
  int32_t synthetic; /* 1: random weights, made by `glint synth` */
  int32_t direct_io; /* 1: reads bypass the page cache */
} glint_model_info;

/* Set struct_size before the call. */
glint_status glint_model_get_info(const glint_model* model, glint_model_info* out_info, glint_error* error);

/* Counters since open, over all sessions. */
typedef struct glint_stats {
  size_t struct_size;
  uint64_t held_bytes_max;      /* what the shares of the budget held at most */
  uint64_t flash_read_bytes;    /* all bytes asked of the device, gaps and alignment counted */
  uint64_t flash_reads;         /* reads asked of the device */
  uint64_t missed_bundle_bytes; /* bytes of bundles that steps wanted and that were absent */
  uint64_t cache_hits;          /* bundles, active and resident */
  uint64_t cache_misses;        /* bundles, active and absent */
  uint64_t tokens;              /* tokens computed */
  uint64_t stall_ns;            /* compute waited for flash */
  uint64_t compute_ns;          /* all else of the steps: step time less stall, predict and verify */
  uint64_t predict_ns;          /* finding the active neurons */
  uint64_t verify_ns;           /* checksums */
} glint_stats;

glint_status glint_model_get_stats(const glint_model* model, glint_stats* out_stats, glint_error* error);

/* --- text ----------------------------------------------------------------------------------------------------------
 */

/* Writes the token ids of `text` to out_tokens, at most `capacity`, and their number to *out_count; where they do not
 * fit, the number needed is in *out_count and nothing is written to out_tokens: GLINT_INVALID_ARGUMENT. Adds no BOS.
 * With parse_special, special tokens in the text become their ids; otherwise they are text like any other. */
glint_status glint_tokenize(const glint_model* model, const char* text, size_t text_bytes, int parse_special,
                            glint_token* out_tokens, size_t capacity, size_t* out_count, glint_error* error);

/* The bytes of one token, which may be part of a UTF-8 character; empty for special tokens and ids without a token.
 * Valid while the model is open. */
glint_status glint_token_text(const glint_model* model, glint_token token, const char** out_text, size_t* out_bytes,
                              glint_error* error);

/* 1 where the model ends its text with this token. */
int glint_token_is_end(const glint_model* model, glint_token token);

/* --- sessions ------------------------------------------------------------------------------------------------------
 */

/* GLINT_OUT_OF_BUDGET where sessions_max are open. The model outlives the session. */
glint_status glint_session_open(glint_model* model, glint_session** out_session, glint_error* error);
void glint_session_close(glint_session** session);

/* Computes `count` tokens at the session's end; afterwards the logits that follow the last of them are there. Where the
 * context has no room for all of them, or one is no id of the vocabulary, none is computed: GLINT_INVALID_ARGUMENT; to
 * go on at the end of the context, rewind. Another error or a cancellation leaves the session after the last batch that
 * was finished, ready to go on: glint_session_position tells how many tokens are in it, and if a batch was finished,
 * logits are gone until the next feed. */
glint_status glint_session_feed(glint_session* session, const glint_token* tokens, size_t count, glint_error* error);

/* Tokens fed so far; with context_max of the model's info it tells how many more there is room for. */
uint32_t glint_session_position(const glint_session* session);

/* Forgets all tokens from `position` on, and what glint_session_show kept back. Logits are gone until the next feed. */
glint_status glint_session_rewind(glint_session* session, uint32_t position, glint_error* error);

/* The vocab_size logits after the last token; valid until the next call on this session. Damaged weights can make them
 * NaN or infinite: sampling then fails with GLINT_CORRUPT_DATA. */
glint_status glint_session_logits(glint_session* session, const float** out_logits, size_t* out_count,
                                  glint_error* error);

typedef struct glint_sampler_options {
  size_t struct_size;
  float temperature;    /* 0: the most likely token */
  uint32_t top_k;       /* 0: off */
  float top_p;          /* 1: off */
  float min_p;          /* 0: off */
  float repeat_penalty; /* 1: off */
  uint32_t repeat_last; /* tokens that the penalty looks back on */
  uint64_t seed;
} glint_sampler_options;

/* Sets struct_size and the defaults: 0.8, 40, 0.95, 0.05, 1.0, 64, seed 0. */
void glint_sampler_options_init(glint_sampler_options* options);

/* Chooses how the session samples from now on, and restarts its random state from the seed. */
glint_status glint_session_set_sampler(glint_session* session, const glint_sampler_options* options,
                                       glint_error* error);

/* Draws the token that follows; does not feed it. Never an id that the tokenizer does not know. */
glint_status glint_session_sample(glint_session* session, glint_token* out_token, glint_error* error);

/* The part of the text up to `token` that is whole UTF-8 characters and was not handed out before; with token -1, what
 * is left (U+FFFD for half a character). For showing text as it is made. Valid until the next call on this session. */
glint_status glint_session_show(glint_session* session, glint_token token, const char** out_text, size_t* out_bytes,
                                glint_error* error);

/* XXH3-64 over the float32 little-endian logits of each position sampled so far, -0 as +0: equal hashes mean equal
 * bits. Rewinding does not take samples back. */
uint64_t glint_session_logits_hash(const glint_session* session);

/* Makes a feed that is under way on another thread, or else the next one, return GLINT_CANCELLED before its next layer.
 * One call cancels one feed. Safe in signal handlers, and on any thread while the session is open. */
void glint_session_cancel(glint_session* session);

#ifdef __cplusplus
}
#endif

#endif /* GLINT_GLINT_H_ */
