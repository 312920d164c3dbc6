#include "text/tokenizer.h"

#include <algorithm>

#include "base/json.h"
#include "text/nfc.h"
#include "text/splitter.h"
#include "text/stop_ids.h"
#include "text/tokenizer_file.h"
#include "text/utf8.h"

namespace mm2 {
namespace {

constexpr uint64_t kMaxFileBytes = uint64_t{256} << 20;
constexpr size_t kMaxTextBytes = (size_t{1} << 31) - 1;  // positions in a piece are 32 bits wide

constexpr size_t kWorthRemembering = 1024;  // bytes of text

bool ends_in_json(std::string_view path) {
  return path.size() > 5 && path.substr(path.size() - 5) == ".json";
}

}  // namespace

struct Tokenizer::EncodeScratch {
  BpeScratch bpe;
  std::string repaired;
  std::string normalized;
  std::vector<TextPart> raw_parts;
  std::vector<TextPart> normalized_parts;
};

Result<std::shared_ptr<const Tokenizer>> Tokenizer::load(const std::string& path,
                                                         const Host& host) {
  const bool is_file = ends_in_json(path);
  const std::string name = is_file ? path : path + "/tokenizer.json";
  MM2_ASSIGN_OR_RETURN(const std::string text, read_all(*host.source, name, kMaxFileBytes));
  MM2_ASSIGN_OR_RETURN(TokenizerFile file, read_tokenizer_file(text, name));
  for (const std::string& setting : file.ignored)
    host.log.write(LogLevel::info, "tokenizer", name, ": ", setting, " has no effect here");
  std::shared_ptr<Tokenizer> tokenizer(new Tokenizer(std::move(file)));
  std::vector<int32_t> stop_ids;
  if (!is_file) {
    const auto find = [&](std::string_view token) { return tokenizer->find(token); };
    MM2_ASSIGN_OR_RETURN(stop_ids, read_stop_ids(path, *host.source, find));
  }
  tokenizer->set_stop_ids(std::move(stop_ids), host.log);
  return std::shared_ptr<const Tokenizer>(std::move(tokenizer));
}

Tokenizer::Tokenizer(TokenizerFile file)
    : vocabulary_(std::move(file.vocabulary)),
      bpe_(std::move(file.bpe)),
      added_(std::move(file.added)),
      kinds_(static_cast<size_t>(vocabulary_.id_end()), 0),
      normalizes_(file.normalizes),
      ignore_merges_(file.ignore_merges) {
  std::vector<const AddedToken*> raw, normalized;
  std::vector<std::string> raw_spellings, normalized_spellings;
  std::string buffer;
  for (const AddedToken& token : added_) {
    kinds_[token.id] = static_cast<uint8_t>(kAdded | (token.special ? kSpecial : 0));
    (token.normalized ? normalized : raw).push_back(&token);
    if (token.normalized) {
      normalized_spellings.emplace_back(normalize(token.content, &buffer));
    } else {
      raw_spellings.push_back(token.content);
    }
  }
  raw_matcher_ = AddedTokenMatcher(std::move(raw), std::move(raw_spellings));
  normalized_matcher_ = AddedTokenMatcher(std::move(normalized), std::move(normalized_spellings));
}

void Tokenizer::set_stop_ids(std::vector<int32_t> ids, const Log& log) {
  if (ids.empty())
    if (const auto end_of_turn = find("[e~[")) ids.push_back(*end_of_turn);
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  for (const int32_t id : ids) {
    if (!has(id)) {
      log.write(LogLevel::warning, "tokenizer", "stop id ", id, " has no token and is left out");
      continue;
    }
    stop_ids_.push_back(id);
    kinds_[id] |= kStop;
  }
}

std::string_view Tokenizer::normalize(std::string_view text, std::string* buffer) const {
  return normalizes_ ? nfc(text, buffer) : text;
}

Result<std::vector<int32_t>> Tokenizer::encode(std::string_view text, bool parse_special) const {
  std::vector<int32_t> ids;
  MM2_RETURN_IF_ERROR(encode(text, parse_special, &ids));
  return ids;
}

Status Tokenizer::encode(std::string_view text, bool parse_special,
                         std::vector<int32_t>* ids) const {
  if (text.size() > kMaxTextBytes) {
    return error(Code::invalid_argument, "encode: text of ", text.size(), " bytes, at most ",
                 kMaxTextBytes, " are possible");
  }
  EncodeScratch scratch;
  if (text.size() > kWorthRemembering) scratch.bpe.remember_pieces();
  if (utf8::valid_prefix(text) != text.size()) {
    utf8::append_repaired(text, &scratch.repaired);
    text = scratch.repaired;
  }
  if (parse_special) {
    encode_raw(text, &scratch, ids);
  } else {
    encode_pieces(normalize(text, &scratch.normalized), &scratch, ids);
  }
  return {};
}

void Tokenizer::encode_raw(std::string_view text, EncodeScratch* scratch,
                           std::vector<int32_t>* ids) const {
  raw_matcher_.split(text, &scratch->raw_parts);
  for (const TextPart& part : scratch->raw_parts) {
    if (part.id != TextPart::kText) {
      ids->push_back(part.id);
    } else {
      encode_gap(text.substr(part.begin, part.end - part.begin), scratch, ids);
    }
  }
}

void Tokenizer::encode_gap(std::string_view text, EncodeScratch* scratch,
                           std::vector<int32_t>* ids) const {
  const std::string_view normalized = normalize(text, &scratch->normalized);
  if (normalized_matcher_.empty()) return encode_pieces(normalized, scratch, ids);
  normalized_matcher_.split(normalized, &scratch->normalized_parts);
  for (const TextPart& part : scratch->normalized_parts) {
    if (part.id != TextPart::kText) {
      ids->push_back(part.id);
    } else {
      encode_pieces(normalized.substr(part.begin, part.end - part.begin), scratch, ids);
    }
  }
}

void Tokenizer::encode_pieces(std::string_view text, EncodeScratch* scratch,
                              std::vector<int32_t>* ids) const {
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = next_piece(text, begin);
    const std::string_view piece = text.substr(begin, end - begin);
    begin = end;
    if (ignore_merges_) {
      if (const auto whole = vocabulary_.find(piece)) {
        ids->push_back(*whole);
        continue;
      }
    }
    bpe_.encode(piece, &scratch->bpe, ids);
  }
}

Result<std::string> Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  std::string joined;
  for (const int32_t id : ids) {
    if (!has(id)) return error(Code::invalid_argument, "decode: id ", id, " has no token");
    if (skip_special && is_special(id)) continue;
    joined += vocabulary_.bytes(id);
  }
  if (utf8::valid_prefix(joined) == joined.size()) return joined;
  std::string text;
  utf8::append_repaired(joined, &text);
  return text;
}

std::string_view Tokenizer::bytes(int32_t id) const {
  return has(id) ? vocabulary_.bytes(id) : std::string_view();
}

std::optional<int32_t> Tokenizer::find(std::string_view bytes) const {
  for (const AddedToken& token : added_)
    if (token.content == bytes) return token.id;
  return vocabulary_.find(bytes);
}

std::string Tokenizer::describe() const {
  Json added = Json::array();
  for (const AddedToken& token : added_) {
    added.push_back({{"id", token.id},
                     {"content", token.content},
                     {"special", token.special},
                     {"normalized", token.normalized},
                     {"single_word", token.single_word},
                     {"lstrip", token.lstrip},
                     {"rstrip", token.rstrip}});
  }
  const Json description = {{"type", "BPE"},
                            {"normalizer", normalizes_ ? Json("NFC") : Json()},
                            {"n_tokens", n_tokens()},
                            {"id_end", id_end()},
                            {"n_merges", bpe_.n_merges()},
                            {"stop_ids", stop_ids_},
                            {"added_tokens", std::move(added)}};
  return description.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace mm2
