// What glint.h's options mean to the runtime; for the C API, and for commands that parse the one and use the other.
#ifndef GLINT_RUNTIME_C_API_OPTIONS_H_
#define GLINT_RUNTIME_C_API_OPTIONS_H_

#include "glint/base/status.h"
#include "glint/glint.h"
#include "runtime/model.h"

namespace glint {

// nullptr: the defaults. Fields beyond given->struct_size have their defaults too.
Result<ModelOptions> ModelOptionsFromC(const glint_model_options* given);

}  // namespace glint

#endif  // GLINT_RUNTIME_C_API_OPTIONS_H_
