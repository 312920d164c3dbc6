#include "json_io.h"

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <iostream>

#include "interrupt.h"

namespace cli {
namespace {

constexpr size_t kMaxInput = size_t{1} << 30;

std::string read_stream(std::FILE* stream, const std::string& doing) {
  std::string content;
  char block[1 << 16];
  size_t n = 0;
  while ((n = std::fread(block, 1, sizeof block, stream)) > 0) {
    content.append(block, n);
    if (content.size() > kMaxInput) {
      throw Failure(kInvalidInput, doing, "more than 1 GB of text; the limit is 1073741824 bytes");
    }
  }
  if (std::ferror(stream)) throw Failure(kResources, doing, std::strerror(errno));
  return content;
}

constexpr const char* kReadingLine = "reading the line";

/// "[json.exception.parse_error.101] parse error at line 1 ..." without its first word.
std::string plain_words(const nlohmann::json::exception& error) {
  const std::string words = error.what();
  const size_t end = words.find("] ");
  return words[0] == '[' && end != std::string::npos ? words.substr(end + 2) : words;
}

Json error_object(const std::string& code, const std::string& message) {
  return {{"error", {{"code", code}, {"message", message}}}};
}

}  // namespace

std::string to_text(const Json& value, int indent) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

void print_json(const Json& value) {
  const std::string text = to_text(value) + "\n";
  std::fwrite(text.data(), 1, text.size(), stdout);
}

Json parse_json(std::string_view text, const std::string& doing) {
  try {
    return Json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    throw Failure(kInvalidInput, doing, "no JSON: " + plain_words(error));
  }
}

Json parse_request(const std::string& line) {
  Json request = parse_json(line, kReadingLine);
  if (!request.is_object()) {
    throw Failure(kInvalidInput, kReadingLine, to_text(request) + " is no JSON object");
  }
  return request;
}

std::string string_of(const Json& request, const std::string& name) {
  const auto found = request.find(name);
  if (found != request.end() && found->is_string()) return found->get<std::string>();
  throw Failure(kInvalidInput, kReadingLine,
                "\"" + name + "\" " +
                    (found == request.end() ? "is missing" : "is " + to_text(*found)) +
                    "; a string is needed");
}

std::string string_of(const Json& request, const std::string& name, const std::string& otherwise) {
  return request.value(name, Json()).is_null() ? otherwise : string_of(request, name);
}

bool flag_of(const Json& request, const std::string& name) {
  const Json flag = request.value(name, Json());
  if (flag.is_null()) return false;
  if (flag.is_boolean()) return flag.get<bool>();
  throw Failure(kInvalidInput, kReadingLine,
                "\"" + name + "\" is " + to_text(flag) + "; true or false is needed");
}

std::string raw_member(const std::string& line, const std::string& name) {
  const std::string key = "\"" + name + "\"";
  std::string found;
  size_t begin = 0;  // of the string or value at depth 1 that is being read
  bool wanted = false;
  int depth = 0;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (c == '"') {
      const size_t quote = i++;
      while (i < line.size() && line[i] != '"') i += line[i] == '\\' ? 2 : 1;
      const size_t after = line.find_first_not_of(" \t\r\n", i + 1);
      if (depth == 1 && after != std::string::npos && line[after] == ':') {
        wanted = line.compare(quote, i + 1 - quote, key) == 0;
        begin = after + 1;
        i = after;
      }
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if (c == '}' || c == ']' || c == ',') {
      if (c != ',') --depth;
      const bool ends = depth == (c == ',' ? 1 : 0);
      if (ends && wanted) found = line.substr(begin, i - begin);
      if (ends) wanted = false;
    }
  }
  const size_t first = found.find_first_not_of(" \t\r\n");
  return first == std::string::npos || found.compare(first, 4, "null") == 0 ? "" : found;
}

std::string read_standard_input() {
  return read_stream(stdin, "reading standard input");
}

std::string read_file(const std::string& path) {
  const std::string doing = "reading " + path;
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"),
                                                             std::fclose);
  if (file == nullptr) {
    throw Failure(errno == ENOENT ? kInvalidInput : kResources, doing, std::strerror(errno));
  }
  return read_stream(file.get(), doing);
}

TokenIds parse_ids(const std::string& text) {
  TokenIds ids;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at != end) {
    if (std::strchr(", \t\n[]", *at) != nullptr) {
      ++at;
      continue;
    }
    int32_t id = 0;
    const auto [next, problem] = std::from_chars(at, end, id);
    if (problem != std::errc() || (next != end && std::strchr(", \t\n]", *next) == nullptr)) {
      throw Failure(
          kUsage, "reading --ids",
          "'" + std::string(at, end).substr(0, 20) + "' is no list of token ids such as 1,2,3");
    }
    ids.push_back(id);
    at = next;
  }
  if (ids.empty()) throw Failure(kUsage, "reading --ids", "there is no id; at least 1 is needed");
  return ids;
}

TokenIds ids_of(const Json& array, const std::string& doing) {
  if (!array.is_array()) throw Failure(kInvalidInput, doing, "\"ids\" is no array");
  TokenIds ids;
  ids.reserve(array.size());
  for (const Json& element : array) {
    if (!element.is_number_integer() || element < INT32_MIN || element > INT32_MAX) {
      throw Failure(kInvalidInput, doing,
                    "ids[" + std::to_string(ids.size()) + "] is " + to_text(element) +
                        ", which is no token id");
    }
    ids.push_back(element.get<int32_t>());
  }
  return ids;
}

ExitCode run_json_lines(const std::function<Json(const std::string& line)>& answer) {
  std::string line;
  while (!interrupted() && std::getline(std::cin, line)) {
    Json result;
    try {
      result = answer(line);
    } catch (const Failure& failure) {
      result = error_object(failure.code(), failure.wrong());
    } catch (const nlohmann::json::exception& error) {
      result = error_object("MM2_E_FORMAT", plain_words(error));
    }
    print_json(result);
    std::fflush(stdout);
  }
  return interrupted() ? kInterrupted : kOk;
}

}  // namespace cli
