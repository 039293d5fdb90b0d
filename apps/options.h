// Command-line values that several commands take, understood and refused the same way everywhere.
#ifndef GLINT_APPS_OPTIONS_H_
#define GLINT_APPS_OPTIONS_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "glint/glint.h"

namespace glint {

// An option that takes a size: "512MB", "4GiB", plain bytes.
CLI::Option* AddSizeOption(CLI::App* app, const std::string& names, uint64_t* bytes, const std::string& description);

// --config FILE: reads what the command line does not say from a TOML or INI file of the command's option names.
// (CLI11's own set_config works on the whole program only; on a command it does nothing.)
void AddConfigOption(CLI::App* app);

// The options that choose how a model is held and read: --budget, -c, --predictor, --window, --io, -t, --slots, --gaps.
// Notices (which reader runs, what fell back) go to stderr. `options` is initialised here and filled in by the parser;
// it outlives the parse.
void AddModelOptions(CLI::App* app, glint_model_options* options);

}  // namespace glint

#endif  // GLINT_APPS_OPTIONS_H_
