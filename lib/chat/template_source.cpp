#include "chat/template_source.h"

#include <vector>

#include "absl/strings/ascii.h"

namespace mm2::chat {
namespace {

// Separators of the reduced form. A template that holds them itself is merely not recognised.
constexpr char kEndOfData = '\x1e';
constexpr char kEndOfTag = '\x1f';

bool is_name(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_';
}

class Reducer {
 public:
  explicit Reducer(std::string_view source) : source_(source) {}

  Result<TemplateForm> run() {
    size_t at = 0;
    while (at < source_.size()) {
      const size_t open = find_tag(at);
      data(source_.substr(at, open - at), open);
      if (open == source_.size()) break;
      MM2_ASSIGN_OR_RETURN(at, tag(open));
    }
    flush_data();
    for (const char c : form_.text) {  // FNV-1a
      hash_ = (hash_ ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
    }
    form_.digest = hash_;
    return std::move(form_);
  }

 private:
  size_t find_tag(size_t at) const {
    for (; at + 1 < source_.size(); ++at) {
      const char next = source_[at + 1];
      if (source_[at] == '{' && (next == '{' || next == '%' || next == '#')) return at;
    }
    return source_.size();
  }

  // Plain text up to the tag at `open`, with what the tags on both sides take off it.
  void data(std::string_view text, size_t open) {
    if (strip_after_) {
      while (!text.empty() && absl::ascii_isspace(text.front())) text.remove_prefix(1);
    } else if (trim_after_ && !text.empty() && text[0] == '\n') {
      text.remove_prefix(1);
    }
    if (open < source_.size()) {
      const char mark = open + 2 < source_.size() ? source_[open + 2] : '\0';
      if (mark == '-') {
        while (!text.empty() && absl::ascii_isspace(text.back())) text.remove_suffix(1);
      } else if (mark != '+' && source_[open + 1] != '{') {  // lstrip_blocks
        const size_t line = text.find_last_not_of(" \t");
        const bool at_line_start = line == std::string_view::npos
                                       ? data_.empty() || data_.back() == '\n'
                                       : text[line] == '\n';
        if (at_line_start) text = text.substr(0, line == std::string_view::npos ? 0 : line + 1);
      }
    } else if (!text.empty() && text.back() == '\n') {
      text.remove_suffix(1);  // keep_trailing_newline is off
    }
    data_ += text;
  }

  void flush_data() {
    if (data_.empty()) return;
    form_.text += data_;
    form_.text += kEndOfData;
    data_.clear();
    recent_.clear();
  }

  // Reads the tag at `open`; returns where it ends.
  Result<size_t> tag(size_t open) {
    const char kind = source_[open + 1];
    size_t at = open + 2;
    if (kind == '#') {
      const size_t end = source_.find("#}", at);
      if (end == std::string_view::npos) {
        return error(Code::format, "comment at byte ", open, " is not closed");
      }
      strip_after_ = end > at && source_[end - 1] == '-';
      trim_after_ = true;
      return end + 2;
    }
    flush_data();
    const std::string_view close = kind == '{' ? "}}" : "%}";
    if (at < source_.size() && (source_[at] == '-' || source_[at] == '+')) ++at;
    std::vector<std::string> tokens;
    while (true) {
      while (at < source_.size() && absl::ascii_isspace(source_[at])) ++at;
      if (at >= source_.size()) {
        return error(Code::format, "tag at byte ", open, " is not closed");
      }
      const bool minus = source_[at] == '-' && source_.substr(at + 1, 2) == close;
      if (minus || source_.substr(at, 2) == close) {
        strip_after_ = minus;
        trim_after_ = kind == '%';
        at += minus ? 3 : 2;
        break;
      }
      MM2_ASSIGN_OR_RETURN(at, token(at, tokens));
    }
    form_.text += kind;
    for (const std::string& t : tokens) (form_.text += t) += ' ';
    form_.text += kEndOfTag;
    return at;
  }

  Result<size_t> token(size_t at, std::vector<std::string>& tokens) {
    const size_t begin = at;
    std::string spelling;
    if (source_[at] == '"' || source_[at] == '\'') {
      const char quote = source_[at++];
      std::string decoded;
      while (at < source_.size() && source_[at] != quote) {
        if (source_[at] == '\\' && at + 1 < source_.size()) {
          const char c = source_[++at];
          decoded += c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c;
        } else {
          decoded += source_[at];
        }
        ++at;
      }
      if (at >= source_.size()) {
        return error(Code::format, "string at byte ", begin, " is not closed");
      }
      ++at;
      spelling = literal(std::move(decoded));
    } else if (is_name(source_[at])) {
      while (at < source_.size() && is_name(source_[at])) ++at;
      spelling = source_.substr(begin, at - begin);
    } else {
      spelling = source_[at++];
    }
    remember(spelling);
    tokens.push_back(std::move(spelling));
    return at;
  }

  // The identity stands in `set model_identity = "..."`, or in an else branch that follows
  // `{{ model_identity }}`.
  std::string literal(std::string decoded) {
    const bool assigned = recent_.size() >= 2 && recent_[recent_.size() - 2] == "model_identity" &&
                          recent_.back() == "=";
    const bool otherwise = recent_.size() >= 2 && recent_[recent_.size() - 2] == "model_identity" &&
                           recent_.back() == "else";
    if ((assigned || otherwise) && !form_.has_identity) {
      form_.has_identity = true;
      form_.identity = std::move(decoded);
      return "IDENTITY";
    }
    return "\"" + decoded + "\"";
  }

  void remember(const std::string& spelling) {
    if (recent_.size() >= 4) recent_.erase(recent_.begin());
    recent_.push_back(spelling);
  }

  std::string_view source_;
  TemplateForm form_;
  std::string data_;                 // text since the last tag that is not a comment
  std::vector<std::string> recent_;  // the last tokens, over tags with no text between them
  bool strip_after_ = false;         // the last tag ended in -
  bool trim_after_ = false;          // the last tag takes one newline
  uint64_t hash_ = 0xCBF29CE484222325u;
};

}  // namespace

Result<TemplateForm> reduce_template(std::string_view source) {
  std::string unix_lines;  // Jinja reads \r\n and \r as \n
  unix_lines.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    const bool pair = source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n';
    if (!pair) unix_lines += source[i] == '\r' ? '\n' : source[i];
  }
  return Reducer(unix_lines).run();
}

}  // namespace mm2::chat
