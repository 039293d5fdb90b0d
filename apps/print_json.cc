#include "apps/print_json.h"

#include <cstdio>
#include <nlohmann/json.hpp>

namespace glint {

void PrintJson(const nlohmann::ordered_json& object) {
  std::printf("%s\n", object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
}

}  // namespace glint
