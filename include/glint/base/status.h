// Status and Result: how an operating error travels. A message names what, where (file, offset), wanted, got, and what
// to do.
#ifndef GLINT_BASE_STATUS_H_
#define GLINT_BASE_STATUS_H_

#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "glint/base/check.h"

namespace glint {

enum class StatusCode : int {
  kOk = 0,
  kInvalidArgument = 1,  // the caller asked for something that cannot be
  kNotFound = 2,         // a file, a tensor or a name is absent
  kCorruptData = 3,      // bytes do not match their checksum or their description
  kUnsupported = 4,      // well-formed, but not something this build can do
  kOutOfBudget = 5,      // the budget is smaller than the least that would do
  kIoError = 6,          // the operating system refused or failed an operation
  kCancelled = 7,        // somebody asked for a stop
  kInternal = 8,         // a library failed in a way we did not foresee
};

// Returns the lower-case name of `code`, for example "corrupt data".
std::string_view StatusCodeName(StatusCode code);

class [[nodiscard]] Status {
 public:
  Status() = default;  // ok
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}
  static Status Ok() { return {}; }

  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

Status InvalidArgument(std::string message);
Status NotFound(std::string message);
Status CorruptData(std::string message);
Status Unsupported(std::string message);
Status OutOfBudget(std::string message);
Status IoError(std::string message);
Status Cancelled(std::string message);
Status Internal(std::string message);

// Returns an IoError whose message is `what` followed by the text of errno `error`, for example
// "cannot open 'x.glint': No such file or directory (errno 2)"; kNotFound where `error` is ENOENT.
Status ErrnoStatus(std::string_view what, int error);

// A value or the status that says why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}        // NOLINT: implicit on purpose
  Result(Status status) : state_(std::in_place_index<1>, std::move(status)) {  // NOLINT: implicit on purpose
    GLINT_CHECK(!std::get<1>(state_).ok());
  }

  bool ok() const { return state_.index() == 0; }
  // Returns the error, or Ok where there is a value.
  Status status() const { return ok() ? Status::Ok() : std::get<1>(state_); }
  // REQUIRES: ok().
  T& value() & {
    GLINT_CHECK(ok());
    return std::get<0>(state_);
  }
  const T& value() const& {
    GLINT_CHECK(ok());
    return std::get<0>(state_);
  }
  T&& value() && {
    GLINT_CHECK(ok());
    return std::get<0>(std::move(state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<T, Status> state_;
};

#define GLINT_CONCAT_INNER(a, b) a##b
#define GLINT_CONCAT(a, b) GLINT_CONCAT_INNER(a, b)

#define GLINT_RETURN_IF_ERROR(expr)                                                              \
  do {                                                                                           \
    if (::glint::Status returned_status = (expr); !returned_status.ok()) return returned_status; \
  } while (false)

#define GLINT_ASSIGN_OR_RETURN(lhs, expr) GLINT_ASSIGN_OR_RETURN_INNER(GLINT_CONCAT(glint_result_, __LINE__), lhs, expr)
#define GLINT_ASSIGN_OR_RETURN_INNER(result, lhs, expr) \
  auto result = (expr);                                 \
  if (!result.ok()) return result.status();             \
  lhs = std::move(result).value()

}  // namespace glint

#endif  // GLINT_BASE_STATUS_H_
