// Verbs that work on checkpoints: the library does the work and gives a report in JSON.
#pragma once

#include <string>

#include "errors.h"
#include "json_io.h"
#include "options.h"

namespace cli {

/// Runs a verb of mm2_tool_run and prints its report: as it is with `json`, else for a person. A
/// check that failed prints its report and then throws Failure with exit code 3.
ExitCode run_tool(const std::string& verb, const Json& options, bool json, ProgressStyle progress);

/// Nested objects as indented names and values, lists of objects as tables.
void print_report(const Json& report);

}  // namespace cli
