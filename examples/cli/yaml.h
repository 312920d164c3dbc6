// YAML of people's recipes as JSON, so that the library has one strict reader.
#pragma once

#include <string>

#include "json_io.h"

namespace cli {

/// One document of YAML's core schema: null, booleans, numbers and text, lists, mappings with text as
/// keys. `doing` begins messages. Refused: keys that occur twice, .nan and .inf, more than a million
/// nodes (of aliases within aliases), what cannot be parsed; everything where the program was built
/// without yaml-cpp.
Json parse_yaml(const std::string& text, const std::string& doing);

}  // namespace cli
