// Putting messages together, and quoting foreign text so that it can be printed safely.
#ifndef GLINT_BASE_TEXT_H_
#define GLINT_BASE_TEXT_H_

#include <cstdint>
#include <sstream>
#include <string>
#include <string_view>

namespace glint {

// Returns the arguments as << would print them, one after the other.
template <typename... Parts>
std::string Concat(const Parts&... parts) {
  std::ostringstream stream;
  (stream << ... << parts);
  return std::move(stream).str();
}

// Returns `text` in single quotes with control and non-ASCII bytes escaped, cut at 200 bytes.
std::string Quote(std::string_view text);

// Returns "0x" and 16 lower-case digits.
std::string Hex64(uint64_t value);

}  // namespace glint

#endif  // GLINT_BASE_TEXT_H_
