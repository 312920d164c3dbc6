#include "tools/calibrate/samples.h"

#include <algorithm>
#include <cstring>

#include "base/json.h"

namespace mm2 {
namespace {

Status read_counted(const Json& line, const std::string& what, size_t n_ids,
                    std::vector<uint8_t>& counted) {
  const size_t first = counted.size();
  counted.resize(first + n_ids, 1);
  if (const auto from = line.find("count_from"); from != line.end()) {
    if (!from->is_number_unsigned()) return error(Code::format, what, ": count_from is no count");
    const size_t n = std::min(n_ids, from->get<size_t>());
    std::fill_n(counted.begin() + static_cast<ptrdiff_t>(first), n, uint8_t{0});
  }
  const auto marks = line.find("counted");
  if (marks == line.end()) return {};
  if (!marks->is_array() || marks->size() != n_ids) {
    return error(Code::format, what, ": counted has ", marks->is_array() ? marks->size() : 0,
                 " marks for ", n_ids, " ids");
  }
  for (size_t i = 0; i < n_ids; ++i) {
    const Json& mark = (*marks)[i];
    if (!mark.is_boolean() && mark != 0 && mark != 1) {
      return error(Code::format, what, ": mark ", i, " is neither 0 nor 1");
    }
    counted[first + i] = mark.is_boolean() ? mark.get<bool>() : mark == 1;
  }
  return {};
}

}  // namespace

size_t TokenSamples::n_counted() const {
  return static_cast<size_t>(std::count(counted.begin(), counted.end(), uint8_t{1}));
}

Result<TokenSamples> parse_samples(std::string_view text, const std::string& file, int32_t n_vocab,
                                   int64_t max_length, int64_t max_tokens) {
  TokenSamples samples;
  samples.starts.push_back(0);
  const auto limit = max_tokens > 0 ? static_cast<size_t>(max_tokens) : SIZE_MAX;
  for (size_t n = 1; !text.empty() && samples.n_tokens() < limit; ++n) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view one = text.substr(0, end);
    text.remove_prefix(std::min(text.size(), end + 1));
    if (one.find_first_not_of(" \t\r") == one.npos) continue;
    const std::string what = join(file, ": line ", n);
    MM2_ASSIGN_OR_RETURN(const Json line, parse_json(one, what));
    const auto ids = line.is_object() ? line.find("ids") : line.end();
    if (!line.is_object() || ids == line.end() || !ids->is_array() || ids->empty()) {
      return error(Code::format, what, ": no \"ids\" with at least one token");
    }
    for (const Json& id : *ids) {
      if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= n_vocab) {
        return error(Code::format, what, ": id ", id.dump().substr(0, 40), " is not in [0, ",
                     n_vocab, ")");
      }
      samples.tokens.push_back(id.get<int32_t>());
    }
    MM2_RETURN_IF_ERROR(read_counted(line, what, ids->size(), samples.counted));
    const size_t first = samples.starts.back();
    size_t length = samples.tokens.size() - first;
    if (max_length > 0) length = std::min(length, static_cast<size_t>(max_length));
    length = std::min(length, limit - first);
    samples.tokens.resize(first + length);
    samples.counted.resize(first + length);
    samples.starts.push_back(first + length);
  }
  if (samples.size() == 0) return error(Code::format, file, ": no samples");
  if (samples.n_counted() == 0) return error(Code::format, file, ": no token is to be counted");
  return samples;
}

Result<TokenSamples> parse_binary_samples(std::string_view bytes, const std::string& file,
                                          int32_t n_vocab, int64_t max_length, int64_t max_tokens) {
  constexpr size_t kDefaultLength = 2048;
  if (bytes.size() % sizeof(int32_t) != 0) {
    return error(Code::format, file, ": ", bytes.size(),
                 " bytes are no whole number of 32-bit ids");
  }
  TokenSamples samples;
  samples.tokens.resize(bytes.size() / sizeof(int32_t));
  if (max_tokens > 0 && samples.n_tokens() > static_cast<size_t>(max_tokens)) {
    samples.tokens.resize(static_cast<size_t>(max_tokens));
  }
  if (samples.tokens.empty()) return error(Code::format, file, ": no samples");
  std::memcpy(samples.tokens.data(), bytes.data(), samples.n_tokens() * sizeof(int32_t));
  for (size_t i = 0; i < samples.n_tokens(); ++i) {
    if (samples.tokens[i] < 0 || samples.tokens[i] >= n_vocab) {
      return error(Code::format, file, ": id ", samples.tokens[i], " at place ", i,
                   " is not in [0, ", n_vocab, ")");
    }
  }
  samples.counted.assign(samples.n_tokens(), 1);
  const size_t length = max_length > 0 ? static_cast<size_t>(max_length) : kDefaultLength;
  for (size_t at = 0; at < samples.n_tokens(); at += length) samples.starts.push_back(at);
  samples.starts.push_back(samples.n_tokens());
  return samples;
}

}  // namespace mm2
