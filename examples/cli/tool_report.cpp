#include "tool_report.h"

#include <algorithm>
#include <cstdio>

#include "interrupt.h"
#include "progress.h"

namespace cli {
namespace {

constexpr size_t kMaxRows = 60;  // of a table; --json has all of them

std::string cell(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) return to_text(value);
  std::string joined;
  for (const Json& element : value) joined += (joined.empty() ? "" : " ") + cell(element);
  return joined;
}

std::string named_cell(const std::string& name, const Json& value) {
  const bool is_bytes = name.size() >= 5 && name.compare(name.size() - 5, 5, "bytes") == 0;
  if (is_bytes && value.is_number()) {
    return cell(value) + " (" + human_bytes(value.get<double>()) + ")";
  }
  return cell(value);
}

bool is_table(const Json& value) {
  return value.is_array() && !value.empty() &&
         std::all_of(value.begin(), value.end(), [](const Json& row) { return row.is_object(); });
}

void print_table(const Json& rows, int indent) {
  std::vector<std::string> names;
  for (const Json& row : rows) {
    for (const auto& [name, value] : row.items()) {
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
  }
  std::vector<std::vector<std::string>> lines = {names};
  for (size_t r = 0; r < std::min(rows.size(), kMaxRows); ++r) {
    auto& line = lines.emplace_back();
    for (const auto& name : names) {
      line.push_back(rows[r].contains(name) ? cell(rows[r][name]) : "");
    }
  }
  std::vector<size_t> widths(names.size());
  for (const auto& line : lines) {
    for (size_t c = 0; c < line.size(); ++c) widths[c] = std::max(widths[c], line[c].size());
  }
  for (const auto& line : lines) {
    std::string text(indent, ' ');
    for (size_t c = 0; c < line.size(); ++c) {
      text += line[c] + std::string(widths[c] - line[c].size() + 2, ' ');
    }
    std::printf("%s\n", text.substr(0, text.find_last_not_of(' ') + 1).c_str());
  }
  if (rows.size() > kMaxRows) {
    std::printf("%*s... and %zu more (--json shows all)\n", indent, "", rows.size() - kMaxRows);
  }
}

void print_value(const std::string& name, const Json& value, int indent) {
  const bool flat = !value.is_object() && !is_table(value);
  if (flat) {
    std::printf("%*s%-*s  %s\n", indent, "", std::max(1, 24 - indent), name.c_str(),
                named_cell(name, value).c_str());
    return;
  }
  std::printf("%*s%s\n", indent, "", name.c_str());
  if (is_table(value)) {
    print_table(value, indent + 2);
    return;
  }
  for (const auto& [inner, element] : value.items()) print_value(inner, element, indent + 2);
}

}  // namespace

void print_report(const Json& report) {
  if (!report.is_object()) {
    std::printf("%s\n", cell(report).c_str());
    return;
  }
  for (const auto& [name, value] : report.items()) print_value(name, value, 0);
}

ExitCode run_tool(const std::string& verb, const Json& options, bool json, ProgressStyle style) {
  catch_interrupts();
  ProgressDisplay progress(style);
  const mm2_host host = progress.host();
  const std::string text = to_text(options);
  Buffer report;
  mm2_error error = new_error();
  const mm2_status status =
      mm2_tool_run(verb.c_str(), text.data(), text.size(), &host, report.get(), &error);
  progress.finish();
  const std::string doing = "running " + verb + " on " + options.value("model", std::string("it"));
  if (status == MM2_OK || status == MM2_E_CHECK_FAILED) {
    const Json parsed = parse_json(report.text(), "reading the report of " + verb);
    json ? print_json(parsed) : print_report(parsed);
  }
  if (status != MM2_OK) throw Failure(status, doing, error);
  return kOk;
}

}  // namespace cli
