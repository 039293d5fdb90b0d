// The directory's JSON and its struct. What is parsed here is well-formed; model_directory.cc checks that it is true.
#ifndef GLINT_STORAGE_FORMAT_DIRECTORY_JSON_H_
#define GLINT_STORAGE_FORMAT_DIRECTORY_JSON_H_

#include <string>
#include <string_view>

#include "storage/format/model_directory.h"

namespace glint {

// Every key is there and of its type, nothing else is; the config is valid; layouts are possible. `where` begins
// errors. file_bytes and hash are left 0.
Result<ModelDirectory> DirectoryFromJson(std::string_view json, std::string_view where);

}  // namespace glint

#endif  // GLINT_STORAGE_FORMAT_DIRECTORY_JSON_H_
