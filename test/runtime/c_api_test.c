/* glint.h as a C program sees it. */
#define _POSIX_C_SOURCE 200809L

#include "test/runtime/c_api_test.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "glint/glint.h"

static const char kNoMessage[] = "";
/* `message` tells what a call said; kNoMessage where there was none. */
#define CHECK_SAID(claim, message)                                     \
  do {                                                                 \
    if (!(claim)) c_api_failed(__FILE__, __LINE__, #claim, (message)); \
  } while (0)
#define CHECK(claim) CHECK_SAID(claim, kNoMessage)

enum { kGenerated = 24, kPromptMax = 32 };
static const char kPrompt[] = "Once upon a time";

static glint_model_options Options(void) {
  glint_model_options options;
  glint_model_options_init(&options);
  options.budget_bytes = 16 << 20;
  options.threads = 1;
  return options;
}

static glint_model* OpenModel(const char* path, const glint_model_options* options) {
  glint_error error = GLINT_ERROR_INIT;
  glint_model* model = NULL;
  CHECK_SAID(glint_model_open(path, options, &model, &error) == GLINT_OK, error.message);
  return model;
}

static glint_model* OpenDefault(const c_api_files* files) {
  const glint_model_options options = Options();
  return OpenModel(files->model, &options);
}

static glint_session* OpenSession(glint_model* model) {
  glint_error error = GLINT_ERROR_INIT;
  glint_session* session = NULL;
  CHECK_SAID(glint_session_open(model, &session, &error) == GLINT_OK, error.message);
  return session;
}

typedef struct generation {
  glint_token tokens[kGenerated];
  uint64_t hash;
} generation;

/* Feeds the prompt with a BOS, then samples greedily. Sets ok to 0 where a call fails. */
static generation Generate(const glint_model* model, glint_session* session, const char* prompt, int* ok) {
  glint_error error = GLINT_ERROR_INIT;
  generation made;
  glint_token tokens[kPromptMax] = {2};
  size_t count = 0;
  glint_sampler_options greedy;
  int i;
  memset(&made, 0, sizeof made);
  glint_sampler_options_init(&greedy);
  greedy.temperature = 0;
  *ok = glint_session_set_sampler(session, &greedy, &error) == GLINT_OK &&
        glint_tokenize(model, prompt, strlen(prompt), 0, tokens + 1, kPromptMax - 1, &count, &error) == GLINT_OK &&
        glint_session_feed(session, tokens, count + 1, &error) == GLINT_OK;
  for (i = 0; *ok && i < kGenerated; ++i) {
    *ok = glint_session_sample(session, &made.tokens[i], &error) == GLINT_OK &&
          glint_session_feed(session, &made.tokens[i], 1, &error) == GLINT_OK;
  }
  made.hash = glint_session_logits_hash(session);
  return made;
}

static generation GenerateAlone(glint_model* model, const char* prompt) {
  int ok = 0;
  glint_session* session = OpenSession(model);
  const generation made = Generate(model, session, prompt, &ok);
  CHECK(ok);
  glint_session_close(&session);
  return made;
}

static int Same(const generation* a, const generation* b) {
  return a->hash == b->hash && memcmp(a->tokens, b->tokens, sizeof a->tokens) == 0;
}

void MissingFileIsNotFoundAndNamed(const c_api_files* files) {
  glint_error error = GLINT_ERROR_INIT;
  const glint_model_options options = Options();
  glint_model* model = NULL;
  CHECK(glint_model_open(files->missing, &options, &model, &error) == GLINT_NOT_FOUND);
  CHECK(error.status == GLINT_NOT_FOUND);
  CHECK_SAID(strstr(error.message, files->missing) != NULL, error.message);
  CHECK(strchr(error.message, '\n') == NULL);
  CHECK(model == NULL);
}

void TooSmallBudgetNamesTheLeast(const c_api_files* files) {
  glint_error error = GLINT_ERROR_INIT;
  glint_model_options options = Options();
  glint_model* model = NULL;
  const char* named;
  unsigned long long least = 0;
  options.budget_bytes = 1000;
  CHECK(glint_model_open(files->model, &options, &model, &error) == GLINT_OUT_OF_BUDGET);
  CHECK(model == NULL);
  named = strstr(error.message, "the least");
  CHECK_SAID(named != NULL, error.message);
  if (named == NULL) return;
  named = strstr(named, " is ");
  CHECK_SAID(named != NULL && sscanf(named, " is %llu bytes", &least) == 1, error.message);
  options.budget_bytes = least - 1;
  CHECK(glint_model_open(files->model, &options, &model, NULL) == GLINT_OUT_OF_BUDGET);
  options.budget_bytes = least;
  model = OpenModel(files->model, &options);
  CHECK(model != NULL);
  glint_model_close(&model);
}

void MissingArgumentsAreRefused(const c_api_files* files) {
  glint_model* model = OpenDefault(files);
  glint_session* session = OpenSession(model);
  const char* text = NULL;
  const float* logits = NULL;
  glint_token token = 0;
  size_t count = 0;
  glint_model_info info;
  glint_stats stats;
  memset(&info, 0, sizeof info);
  memset(&stats, 0, sizeof stats);
  CHECK(glint_model_open(NULL, NULL, &model, NULL) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_model_open(files->model, NULL, NULL, NULL) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_model_open_fd(-1, 0, 0, NULL, &model, NULL) != GLINT_OK);
  CHECK(glint_model_get_info(NULL, &info, NULL) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_model_get_info(model, NULL, NULL) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_model_get_info(model, &info, NULL) == GLINT_INVALID_ARGUMENT); /* struct_size is 0 */
  CHECK(glint_model_get_stats(model, &stats, NULL) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_tokenize(NULL, "a", 1, 0, &token, 1, &count, NULL) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_tokenize(model, NULL, 1, 0, &token, 1, &count, NULL) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_tokenize(model, "a", 1, 0, NULL, 1, &count, NULL) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_tokenize(model, "a", 1, 0, &token, 1, NULL, NULL) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_token_text(model, 5, NULL, &count, NULL) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_token_text(model, 5, &text, NULL, NULL) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_token_text(model, -7, &text, &count, NULL) == GLINT_OK && count == 0);
  CHECK(glint_token_text(model, 1000000, &text, &count, NULL) == GLINT_OK && count == 0);
  CHECK(glint_session_open(NULL, &session, NULL) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_session_feed(NULL, &token, 1, NULL) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_session_feed(session, NULL, 1, NULL) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_session_feed(session, NULL, 0, NULL) == GLINT_OK);
  CHECK(glint_session_rewind(NULL, 0, NULL) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_session_logits(session, NULL, &count, NULL) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_session_logits(session, &logits, NULL, NULL) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_session_set_sampler(session, NULL, NULL) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_session_sample(session, NULL, NULL) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_session_show(session, 5, NULL, &count, NULL) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_session_position(NULL) == 0);
  CHECK(glint_session_logits_hash(NULL) == 0);
  glint_session_cancel(NULL);
  glint_session_close(&session);
  glint_model_close(&model);
  CHECK(glint_token_is_end(NULL, 2) == 0);
}

void ErrorsAreOptionalAndCutToFit(const c_api_files* files) {
  /* A caller whose glint_error has room for 15 characters. */
  union {
    glint_error error;
    unsigned char bytes[sizeof(glint_error)];
  } small;
  const size_t room = 16;
  size_t i;
  glint_model* model = NULL;
  CHECK(glint_model_open(files->missing, NULL, &model, NULL) == GLINT_NOT_FOUND);
  memset(&small, 0x5A, sizeof small);
  small.error.struct_size = offsetof(glint_error, message) + room;
  CHECK(glint_model_open(files->missing, NULL, &model, &small.error) == GLINT_NOT_FOUND);
  CHECK(small.error.status == GLINT_NOT_FOUND);
  CHECK(strlen(small.error.message) == room - 1);
  for (i = small.error.struct_size; i < sizeof small; ++i) CHECK(small.bytes[i] == 0x5A);
}

void OptionsOutOfRangeAreRefused(const c_api_files* files) {
  glint_error error = GLINT_ERROR_INIT;
  glint_model_options options = Options();
  glint_sampler_options sampler;
  glint_model* model = NULL;
  glint_session* session;
  options.struct_size = 0;
  CHECK(glint_model_open(files->model, &options, &model, &error) == GLINT_INVALID_ARGUMENT);
  CHECK_SAID(strstr(error.message, "struct_size") != NULL, error.message);
  options = Options();
  options.context_max = 65;
  CHECK(glint_model_open(files->model, &options, &model, &error) == GLINT_INVALID_ARGUMENT);
  CHECK_SAID(strstr(error.message, "65") != NULL && strstr(error.message, "64") != NULL, error.message);
  options = Options();
  options.threads = 100000;
  CHECK(glint_model_open(files->model, &options, &model, &error) == GLINT_INVALID_ARGUMENT);
  options = Options();
  options.sessions_max = 0;
  CHECK(glint_model_open(files->model, &options, &model, &error) == GLINT_INVALID_ARGUMENT);
  options = Options();
  options.sessions_max = UINT32_MAX;
  CHECK(glint_model_open(files->model, &options, &model, &error) == GLINT_INVALID_ARGUMENT);
  CHECK_SAID(strstr(error.message, "1024") != NULL, error.message);
  options = Options();
  options.batch_max = 0;
  CHECK(glint_model_open(files->model, &options, &model, &error) == GLINT_INVALID_ARGUMENT);
  options = Options();
  options.predictor = (glint_predictor)77;
  CHECK(glint_model_open(files->model, &options, &model, &error) == GLINT_INVALID_ARGUMENT);
  options = Options();
  options.io = (glint_io)77;
  CHECK(glint_model_open(files->model, &options, &model, &error) == GLINT_INVALID_ARGUMENT);
  CHECK(model == NULL);
  /* Nothing is too large for these. */
  options = Options();
  options.budget_bytes = UINT64_MAX;
  options.batch_max = UINT32_MAX;
  options.window_tokens = UINT32_MAX - 1;
  options.slots_max = UINT32_MAX - 1;
  options.gap_bytes_max = UINT32_MAX - 1;
  model = OpenModel(files->model, &options);
  session = OpenSession(model);
  glint_sampler_options_init(&sampler);
  sampler.temperature = -1;
  CHECK(glint_session_set_sampler(session, &sampler, &error) == GLINT_INVALID_ARGUMENT);
  CHECK_SAID(strstr(error.message, "temperature") != NULL, error.message);
  glint_session_close(&session);
  glint_model_close(&model);
}

void InfoDescribesTheModel(const c_api_files* files) {
  glint_error error = GLINT_ERROR_INIT;
  glint_model* model = OpenDefault(files);
  glint_model_info info;
  info.struct_size = sizeof info;
  CHECK_SAID(glint_model_get_info(model, &info, &error) == GLINT_OK, error.message);
  CHECK(info.struct_size == sizeof info);
  CHECK(strcmp(info.name, "tiny") == 0);
  CHECK(strcmp(info.architecture, "opt") == 0);
  CHECK(strcmp(info.weight_type, "f16") == 0);
  CHECK(strcmp(info.predictor, "exact") == 0);
  CHECK(strcmp(info.io_engine, "uring") == 0 || strcmp(info.io_engine, "pread") == 0);
  CHECK(info.kernels[0] != '\0');
  CHECK(info.file_bytes == files->model_bytes);
  CHECK(info.budget_bytes == 16 << 20);
  CHECK(info.model_hash != 0);
  CHECK(info.layer_count == 2 && info.hidden_size == 64 && info.ffn_size == 96 && info.vocab_size == 260);
  CHECK(info.context_max == 64 && info.batch_max == 64 && info.threads == 1);
  CHECK(info.bos == 2 && info.has_tokenizer == 1 && info.synthetic == 0);
  CHECK(glint_token_is_end(model, 2) == 1);
  CHECK(glint_token_is_end(model, 5) == 0);
  CHECK(glint_version()[0] != '\0');
  glint_model_close(&model);
}

void StructsOfAnOlderCallerAreLeftAlone(const c_api_files* files) {
  union {
    glint_model_info info;
    unsigned char bytes[sizeof(glint_model_info)];
  } older;
  glint_model_options options = Options();
  glint_model* model;
  glint_model_info info;
  size_t i;
  /* Options that end before `threads`: what lies behind is not theirs, and has the default. */
  options.struct_size = offsetof(glint_model_options, threads);
  options.threads = 100000;
  options.batch_max = 0;
  options.predictor = (glint_predictor)77;
  model = OpenModel(files->model, &options);
  memset(&older, 0x5A, sizeof older);
  older.info.struct_size = offsetof(glint_model_info, budget_bytes);
  CHECK(glint_model_get_info(model, &older.info, NULL) == GLINT_OK);
  CHECK(older.info.file_bytes == files->model_bytes);
  for (i = older.info.struct_size; i < sizeof older; ++i) CHECK(older.bytes[i] == 0x5A);
  info.struct_size = sizeof info;
  CHECK(glint_model_get_info(model, &info, NULL) == GLINT_OK);
  CHECK(info.budget_bytes == options.budget_bytes && info.batch_max == 64);
  CHECK(strcmp(info.predictor, "exact") == 0);
  glint_model_close(&model);
}

void TokenizeTellsTheCountThatIsNeeded(const c_api_files* files) {
  glint_error error = GLINT_ERROR_INIT;
  glint_model* model = OpenDefault(files);
  const size_t bytes = strlen(kPrompt);
  glint_token tokens[kPromptMax];
  size_t count = 0;
  size_t i;
  for (i = 0; i < kPromptMax; ++i) tokens[i] = -5;
  CHECK(glint_tokenize(model, kPrompt, bytes, 0, tokens, bytes - 1, &count, &error) == GLINT_INVALID_ARGUMENT);
  CHECK(count == bytes);
  CHECK(tokens[0] == -5);
  CHECK(glint_tokenize(model, kPrompt, bytes, 0, NULL, 0, &count, &error) == GLINT_INVALID_ARGUMENT);
  CHECK(count == bytes);
  CHECK_SAID(glint_tokenize(model, kPrompt, bytes, 0, tokens, bytes, &count, &error) == GLINT_OK, error.message);
  CHECK(count == bytes && tokens[bytes] == -5);
  for (i = 0; i < count; ++i) {
    const char* text = NULL;
    size_t text_bytes = 0;
    CHECK(glint_token_text(model, tokens[i], &text, &text_bytes, &error) == GLINT_OK);
    CHECK(text_bytes == 1 && text[0] == kPrompt[i]);
  }
  CHECK(glint_tokenize(model, NULL, 0, 0, NULL, 0, &count, &error) == GLINT_OK && count == 0);
  glint_model_close(&model);
}

void SpecialTokensAreParsedOnRequest(const c_api_files* files) {
  glint_model* model = OpenDefault(files);
  glint_token tokens[8];
  size_t count = 0;
  CHECK(glint_tokenize(model, "</s>", 4, 1, tokens, 8, &count, NULL) == GLINT_OK);
  CHECK(count == 1 && tokens[0] == 2);
  CHECK(glint_tokenize(model, "</s>", 4, 0, tokens, 8, &count, NULL) == GLINT_OK);
  CHECK(count == 4);
  glint_model_close(&model);
}

void StatsCountTokensAndBytes(const c_api_files* files) {
  glint_model* model = OpenDefault(files);
  glint_stats stats;
  stats.struct_size = sizeof stats;
  GenerateAlone(model, kPrompt);
  CHECK(glint_model_get_stats(model, &stats, NULL) == GLINT_OK);
  CHECK(stats.tokens == 1 + strlen(kPrompt) + kGenerated);
  CHECK(stats.held_bytes_max > 0 && stats.held_bytes_max <= 16 << 20);
  CHECK(stats.flash_read_bytes > 0 && stats.flash_reads > 0);
  CHECK(stats.cache_hits + stats.cache_misses > 0);
  CHECK(stats.compute_ns > 0);
  glint_model_close(&model);
}

void LogitsAreThereAfterFeedOnly(const c_api_files* files) {
  glint_error error = GLINT_ERROR_INIT;
  glint_model* model = OpenDefault(files);
  glint_session* session = OpenSession(model);
  const glint_token tokens[2] = {2, 100};
  const float* logits = NULL;
  glint_token sampled = -9;
  size_t count = 0;
  CHECK(glint_session_logits(session, &logits, &count, &error) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_session_sample(session, &sampled, &error) == GLINT_INVALID_ARGUMENT);
  CHECK(sampled == -9);
  CHECK_SAID(glint_session_feed(session, tokens, 2, &error) == GLINT_OK, error.message);
  CHECK(glint_session_position(session) == 2);
  CHECK(glint_session_logits(session, &logits, &count, &error) == GLINT_OK && count == 260);
  CHECK(glint_session_rewind(session, 3, &error) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_session_rewind(session, 1, &error) == GLINT_OK);
  CHECK(glint_session_position(session) == 1);
  CHECK(glint_session_logits(session, &logits, &count, &error) == GLINT_INVALID_ARGUMENT);
  glint_session_close(&session);
  glint_model_close(&model);
}

void TokensThatDoNotFitAreRefused(const c_api_files* files) {
  glint_error error = GLINT_ERROR_INIT;
  glint_model* model = OpenDefault(files);
  glint_session* session = OpenSession(model);
  glint_token tokens[65];
  glint_token bad[2] = {2, 260};
  size_t i;
  for (i = 0; i < 65; ++i) tokens[i] = (glint_token)i;
  CHECK(glint_session_feed(session, tokens, 65, &error) == GLINT_INVALID_ARGUMENT);
  CHECK_SAID(strstr(error.message, "context of 64") != NULL, error.message);
  CHECK(glint_session_feed(session, bad, 2, &error) == GLINT_INVALID_ARGUMENT);
  CHECK_SAID(strstr(error.message, "260") != NULL, error.message);
  bad[1] = -1;
  CHECK(glint_session_feed(session, bad, 2, &error) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_session_position(session) == 0);
  CHECK_SAID(glint_session_feed(session, tokens, 64, &error) == GLINT_OK, error.message);
  CHECK(glint_session_feed(session, tokens, 1, &error) == GLINT_INVALID_ARGUMENT);
  CHECK(glint_session_position(session) == 64);
  glint_session_close(&session);
  glint_model_close(&model);
}

void ReplayAfterRewindGivesTheSameHash(const c_api_files* files) {
  glint_error error = GLINT_ERROR_INIT;
  glint_model* model = OpenDefault(files);
  glint_session* session = OpenSession(model);
  generation first, again, other;
  int ok = 0;
  first = Generate(model, session, kPrompt, &ok);
  CHECK(ok);
  glint_session_close(&session);
  /* A session that has seen other tokens before, from a model whose cache they have filled. */
  session = OpenSession(model);
  CHECK_SAID(glint_session_feed(session, first.tokens, kGenerated, &error) == GLINT_OK, error.message);
  CHECK(glint_session_rewind(session, 0, &error) == GLINT_OK);
  again = Generate(model, session, kPrompt, &ok);
  CHECK(ok && Same(&first, &again));
  glint_session_close(&session);
  other = GenerateAlone(model, "Once upon a tide");
  CHECK(first.hash != other.hash);
  glint_model_close(&model);
}

void ShownTextIsWholeCharacters(const c_api_files* files) {
  /* An e with an accent, half of it, and an "a": tokens are bytes here. */
  static const char bytes[] =
      "\xC3\xA9\xC3"
      "a";
  static const size_t shown_bytes[] = {0, 2, 0, 4}; /* U+FFFD has three */
  glint_error error = GLINT_ERROR_INIT;
  glint_model* model = OpenDefault(files);
  glint_session* session = OpenSession(model);
  glint_token tokens[4];
  const char* text = NULL;
  size_t count = 0;
  size_t i;
  CHECK(glint_tokenize(model, bytes, 4, 0, tokens, 4, &count, &error) == GLINT_OK && count == 4);
  for (i = 0; i < 4; ++i) {
    CHECK_SAID(glint_session_show(session, tokens[i], &text, &count, &error) == GLINT_OK, error.message);
    CHECK(count == shown_bytes[i]);
  }
  CHECK(count == 4 && memcmp(text,
                             "\xEF\xBF\xBD"
                             "a",
                             4) == 0);
  CHECK(glint_session_show(session, tokens[0], &text, &count, &error) == GLINT_OK && count == 0);
  CHECK(glint_session_show(session, 2, &text, &count, &error) == GLINT_OK && count == 0);
  CHECK(glint_session_show(session, -1, &text, &count, &error) == GLINT_OK);
  CHECK(count == 3 && memcmp(text, "\xEF\xBF\xBD", 3) == 0);
  CHECK(glint_session_show(session, -1, &text, &count, &error) == GLINT_OK && count == 0);
  /* Half a character of a text that was given up is no part of the next. */
  CHECK(glint_session_show(session, tokens[0], &text, &count, &error) == GLINT_OK && count == 0);
  CHECK(glint_session_rewind(session, 0, &error) == GLINT_OK);
  CHECK(glint_session_show(session, tokens[3], &text, &count, &error) == GLINT_OK);
  CHECK(count == 1 && text[0] == 'a');
  glint_session_close(&session);
  glint_model_close(&model);
}

void SessionsMaxIsRespected(const c_api_files* files) {
  glint_error error = GLINT_ERROR_INIT;
  glint_model_options options = Options();
  glint_model* model;
  glint_session* sessions[3] = {NULL, NULL, NULL};
  options.sessions_max = 2;
  model = OpenModel(files->model, &options);
  sessions[0] = OpenSession(model);
  sessions[1] = OpenSession(model);
  CHECK(glint_session_open(model, &sessions[2], &error) == GLINT_OUT_OF_BUDGET);
  CHECK(sessions[2] == NULL);
  CHECK_SAID(strstr(error.message, "sessions_max") != NULL, error.message);
  glint_session_close(&sessions[0]);
  sessions[2] = OpenSession(model);
  CHECK(sessions[2] != NULL);
  glint_session_close(&sessions[1]);
  glint_session_close(&sessions[2]);
  glint_model_close(&model);
}

void CancelLeavesTheSessionUsable(const c_api_files* files) {
  glint_error error = GLINT_ERROR_INIT;
  glint_model* model = OpenDefault(files);
  const generation wanted = GenerateAlone(model, kPrompt);
  generation made;
  glint_session* session = OpenSession(model);
  const glint_token bos = 2;
  int ok = 0;
  CHECK_SAID(glint_session_feed(session, &bos, 1, &error) == GLINT_OK, error.message);
  glint_session_cancel(session);
  CHECK(glint_session_feed(session, &bos, 1, &error) == GLINT_CANCELLED);
  CHECK(error.status == GLINT_CANCELLED);
  CHECK(glint_session_position(session) == 1);
  CHECK(glint_session_rewind(session, 0, &error) == GLINT_OK);
  made = Generate(model, session, kPrompt, &ok);
  CHECK(ok && Same(&made, &wanted));
  glint_session_close(&session);
  glint_model_close(&model);
}

void CloseLeavesNull(const c_api_files* files) {
  glint_model* model = OpenDefault(files);
  glint_session* session = OpenSession(model);
  glint_session_close(&session);
  CHECK(session == NULL);
  glint_session_close(&session);
  glint_model_close(&model);
  CHECK(model == NULL);
  glint_model_close(&model);
  glint_session_close(NULL);
  glint_model_close(NULL);
}

static generation GenerateEmbedded(const char* path, uint64_t offset, uint64_t bytes) {
  glint_error error = GLINT_ERROR_INIT;
  const glint_model_options options = Options();
  glint_model* model = NULL;
  generation made;
  const int fd = open(path, O_RDONLY);
  memset(&made, 0, sizeof made);
  CHECK(fd >= 0);
  CHECK_SAID(glint_model_open_fd(fd, offset, bytes, &options, &model, &error) == GLINT_OK, error.message);
  close(fd); /* The caller's, who may close it. */
  if (model != NULL) made = GenerateAlone(model, kPrompt);
  glint_model_close(&model);
  return made;
}

void ModelInsideALargerFileGivesTheSame(const c_api_files* files) {
  glint_model* model = OpenDefault(files);
  const generation wanted = GenerateAlone(model, kPrompt);
  const generation aligned = GenerateEmbedded(files->embedded_aligned, files->aligned_offset, files->model_bytes);
  const generation unaligned = GenerateEmbedded(files->embedded_unaligned, files->unaligned_offset, files->model_bytes);
  CHECK(Same(&wanted, &aligned));
  CHECK(Same(&wanted, &unaligned));
  glint_model_close(&model);
}

void LengthOfZeroReachesToTheEnd(const c_api_files* files) {
  glint_error error = GLINT_ERROR_INIT;
  glint_model* model = OpenDefault(files);
  const generation wanted = GenerateAlone(model, kPrompt);
  const generation whole = GenerateEmbedded(files->model, 0, 0);
  glint_model* other = NULL;
  int fd;
  CHECK(Same(&wanted, &whole));
  /* To the end is too far here, a byte less too little, and behind the end is nothing. */
  fd = open(files->embedded_aligned, O_RDONLY);
  CHECK(glint_model_open_fd(fd, files->aligned_offset, 0, NULL, &other, &error) == GLINT_CORRUPT_DATA);
  CHECK(glint_model_open_fd(fd, files->aligned_offset, files->model_bytes - 1, NULL, &other, &error) != GLINT_OK);
  CHECK(glint_model_open_fd(fd, UINT64_MAX - 10, 100, NULL, &other, &error) != GLINT_OK);
  CHECK(glint_model_open_fd(fd, 0, UINT64_MAX, NULL, &other, &error) != GLINT_OK);
  CHECK(other == NULL);
  close(fd);
  glint_model_close(&model);
}

typedef struct timeline {
  glint_model* model;
  glint_session* session;
  const char* prompt;
  generation made;
  int ok;
} timeline;

static void* RunTimeline(void* argument) {
  timeline* t = argument;
  t->made = Generate(t->model, t->session, t->prompt, &t->ok);
  return NULL;
}

void TwoThreadsGiveWhatEachGivesAlone(const c_api_files* files) {
  static const char* const prompts[2] = {"Once upon a time", "The old man said"};
  glint_model_options options = Options();
  glint_model* model;
  generation alone[2];
  timeline timelines[2];
  pthread_t threads[2];
  int i;
  options.sessions_max = 2;
  model = OpenModel(files->model, &options);
  for (i = 0; i < 2; ++i) alone[i] = GenerateAlone(model, prompts[i]);
  CHECK(alone[0].hash != alone[1].hash);
  for (i = 0; i < 2; ++i) {
    timelines[i].model = model;
    timelines[i].session = OpenSession(model);
    timelines[i].prompt = prompts[i];
    timelines[i].ok = 0;
  }
  for (i = 0; i < 2; ++i) CHECK(pthread_create(&threads[i], NULL, RunTimeline, &timelines[i]) == 0);
  for (i = 0; i < 2; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
  for (i = 0; i < 2; ++i) {
    CHECK(timelines[i].ok && Same(&timelines[i].made, &alone[i]));
    glint_session_close(&timelines[i].session);
  }
  glint_model_close(&model);
}
