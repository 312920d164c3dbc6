// Reading and writing of JSON and text by the verbs.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "handles.h"

namespace cli {

using Json = nlohmann::ordered_json;

/// One line on standard output. Text that is not UTF-8 is written with U+FFFD.
void print_json(const Json& value);
std::string to_text(const Json& value, int indent = -1);

/// Parses text, or throws Failure with exit code 2.
Json parse_json(std::string_view text, const std::string& doing);

/// The request of one line: a JSON object.
Json parse_request(const std::string& line);
/// Members of a request. A failure names the member, what stands there and what is needed; those
/// with a default may be missing.
std::string string_of(const Json& request, const std::string& name);
std::string string_of(const Json& request, const std::string& name, const std::string& otherwise);
bool flag_of(const Json& request, const std::string& name);
/// The text of a member as it stands in the line, so that numbers of any size reach the library;
/// empty when it is missing or null. The line is known to be a JSON object.
std::string raw_member(const std::string& line, const std::string& name);

/// Everything that standard input holds, and the content of a file, up to 1 GB.
std::string read_standard_input();
std::string read_file(const std::string& path);

/// "1,2,3" (spaces and brackets allowed) as ids; throws Failure with exit code 1.
TokenIds parse_ids(const std::string& text);
/// A JSON array of integers.
TokenIds ids_of(const Json& array, const std::string& doing);

/// Reads one JSON text a line, prints one object a line in the same order. What `answer` throws
/// becomes {"error": {"code", "message"}} on that line, and the next line still runs.
ExitCode run_json_lines(const std::function<Json(const std::string& line)>& answer);

}  // namespace cli
