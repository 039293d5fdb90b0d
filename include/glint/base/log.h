// Where one-line notices go: which reader runs, what fell back. Never on the token path.
#ifndef GLINT_BASE_LOG_H_
#define GLINT_BASE_LOG_H_

#include <functional>
#include <string_view>

namespace glint {

// Called with one line without its newline. Empty: notices are dropped. Must be thread-safe where its user is.
using LogSink = std::function<void(std::string_view line)>;

}  // namespace glint

#endif  // GLINT_BASE_LOG_H_
