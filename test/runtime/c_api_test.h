/* The tests of glint.h, written in C; c_api_test.cc makes GoogleTest run them. */
#ifndef GLINT_TEST_RUNTIME_C_API_TEST_H_
#define GLINT_TEST_RUNTIME_C_API_TEST_H_

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A tiny model with a byte tokenizer (vocabulary 260, context 64), and copies of it inside larger files. */
typedef struct c_api_files {
  const char* model;
  const char* missing;
  const char* embedded_aligned;
  uint64_t aligned_offset;
  const char* embedded_unaligned;
  uint64_t unaligned_offset;
  uint64_t model_bytes;
} c_api_files;

/* Reports a claim that does not hold, and goes on. */
void c_api_failed(const char* file, int line, const char* claim, const char* message);

#define GLINT_C_API_TESTS(X)            \
  X(MissingFileIsNotFoundAndNamed)      \
  X(TooSmallBudgetNamesTheLeast)        \
  X(MissingArgumentsAreRefused)         \
  X(ErrorsAreOptionalAndCutToFit)       \
  X(OptionsOutOfRangeAreRefused)        \
  X(InfoDescribesTheModel)              \
  X(StructsOfAnOlderCallerAreLeftAlone) \
  X(TokenizeTellsTheCountThatIsNeeded)  \
  X(SpecialTokensAreParsedOnRequest)    \
  X(StatsCountTokensAndBytes)           \
  X(LogitsAreThereAfterFeedOnly)        \
  X(TokensThatDoNotFitAreRefused)       \
  X(ReplayAfterRewindGivesTheSameHash)  \
  X(ShownTextIsWholeCharacters)         \
  X(SessionsMaxIsRespected)             \
  X(CancelLeavesTheSessionUsable)       \
  X(CloseLeavesNull)                    \
  X(ModelInsideALargerFileGivesTheSame) \
  X(LengthOfZeroReachesToTheEnd)        \
  X(TwoThreadsGiveWhatEachGivesAlone)

#define GLINT_C_API_DECLARE(name) void name(const c_api_files* files);
GLINT_C_API_TESTS(GLINT_C_API_DECLARE)
#undef GLINT_C_API_DECLARE

#ifdef __cplusplus
}
#endif

#endif /* GLINT_TEST_RUNTIME_C_API_TEST_H_ */
