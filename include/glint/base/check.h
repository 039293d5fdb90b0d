// Checks for programmer errors. Bad input is a Status, never a check.
#ifndef GLINT_BASE_CHECK_H_
#define GLINT_BASE_CHECK_H_

namespace glint {
[[noreturn]] void CheckFailed(const char* expression, const char* file, int line);
}  // namespace glint

#define GLINT_CHECK(expression) \
  (__builtin_expect(static_cast<bool>(expression), 1) ? (void)0 : ::glint::CheckFailed(#expression, __FILE__, __LINE__))

// For conditions too costly to test on the hot path of a release build.
#ifdef NDEBUG
#define GLINT_DCHECK(expression) (true ? (void)0 : (void)(expression))
#else
#define GLINT_DCHECK(expression) GLINT_CHECK(expression)
#endif

#endif  // GLINT_BASE_CHECK_H_
