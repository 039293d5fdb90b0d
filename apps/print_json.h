// The one JSON object that a command prints with --json.
#ifndef GLINT_APPS_PRINT_JSON_H_
#define GLINT_APPS_PRINT_JSON_H_

#include <nlohmann/json_fwd.hpp>

namespace glint {

// Writes `object` and a newline to stdout. Bytes that are not UTF-8 (names of files, texts of models) become U+FFFD.
void PrintJson(const nlohmann::ordered_json& object);

}  // namespace glint

#endif  // GLINT_APPS_PRINT_JSON_H_
