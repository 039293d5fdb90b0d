#include "glint/base/status.h"

#include <cerrno>
#include <cstring>

#include "glint/base/text.h"

namespace glint {

std::string_view StatusCodeName(StatusCode code) {
  switch (code) {
    case StatusCode::kOk: return "ok";
    case StatusCode::kInvalidArgument: return "invalid argument";
    case StatusCode::kNotFound: return "not found";
    case StatusCode::kCorruptData: return "corrupt data";
    case StatusCode::kUnsupported: return "unsupported";
    case StatusCode::kOutOfBudget: return "out of budget";
    case StatusCode::kIoError: return "I/O error";
    case StatusCode::kCancelled: return "cancelled";
    case StatusCode::kInternal: return "internal error";
  }
  return "unknown";
}

Status InvalidArgument(std::string message) { return {StatusCode::kInvalidArgument, std::move(message)}; }
Status NotFound(std::string message) { return {StatusCode::kNotFound, std::move(message)}; }
Status CorruptData(std::string message) { return {StatusCode::kCorruptData, std::move(message)}; }
Status Unsupported(std::string message) { return {StatusCode::kUnsupported, std::move(message)}; }
Status OutOfBudget(std::string message) { return {StatusCode::kOutOfBudget, std::move(message)}; }
Status IoError(std::string message) { return {StatusCode::kIoError, std::move(message)}; }
Status Cancelled(std::string message) { return {StatusCode::kCancelled, std::move(message)}; }
Status Internal(std::string message) { return {StatusCode::kInternal, std::move(message)}; }

Status ErrnoStatus(std::string_view what, int error) {
  char text[128] = "";
  // GNU strerror_r may return a static string instead of filling the buffer.
  const char* description = strerror_r(error, text, sizeof text);
  std::string message = Concat(what, ": ", description, " (errno ", error, ")");
  return error == ENOENT ? NotFound(std::move(message)) : IoError(std::move(message));
}

}  // namespace glint
