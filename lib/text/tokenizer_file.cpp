#include "text/tokenizer_file.h"

#include <algorithm>

#include "base/json.h"
#include "text/json_cursor.h"
#include "text/tokenizer_pipeline.h"
#include "text/utf8.h"

namespace mm2 {
namespace {

std::string in_quotes(std::string_view token) {
  std::string text = "\"";
  utf8::append_repaired(token.substr(0, 40), &text);
  return text + (token.size() > 40 ? "...\"" : "\"");
}

// The members of an object. Those of its member "model" go to *model, where that is not null, so
// that the large arrays are walked over once.
Result<JsonMembers> read_members(JsonCursor* cursor, JsonMembers* model) {
  JsonMembers members;
  MM2_RETURN_IF_ERROR(cursor->expect('{'));
  for (bool first = true, more = true;;) {
    MM2_RETURN_IF_ERROR(cursor->next_item('}', &first, &more));
    if (!more) return members;
    std::string_view key, value;
    MM2_RETURN_IF_ERROR(cursor->key(&key));
    const std::string name(key);
    for (const auto& member : members)
      if (member.first == name) return cursor->fail("a second member " + in_quotes(name));
    // Each member is compared with all before it, so their number must stay small.
    if (members.size() == 64) return cursor->fail("more than 64 members");
    if (model != nullptr && name == "model") {
      MM2_ASSIGN_OR_RETURN(*model, read_members(cursor, nullptr));
    } else {
      MM2_RETURN_IF_ERROR(cursor->skip(&value));
    }
    members.emplace_back(name, value);
  }
}

// Reads the large arrays of one document.
class Reader {
 public:
  Reader(std::string_view text, const std::string& what) : text_(text), what_(what) {}

  Result<TokenizerFile> read();

 private:
  JsonCursor cursor_at(std::string_view value) const {
    return JsonCursor(text_, what_, static_cast<size_t>(value.data() - text_.data()));
  }
  Result<std::string_view> find(const JsonMembers& members, const char* name,
                                const std::string& field) const;
  Status read_vocabulary(std::string_view value);
  Status add_token(const JsonCursor& cursor, std::string_view spelling, uint64_t id);
  Status read_merges(std::string_view value);
  Status read_merge(JsonCursor* cursor, std::string* left, std::string* right) const;
  Status add_merge(const JsonCursor& cursor, size_t index, std::string* left,
                   const std::string& right);
  Status add_added_tokens();

  std::string_view text_;
  const std::string& what_;
  std::string bytes_;
  TokenizerFile file_;
};

Result<TokenizerFile> Reader::read() {
  if (const size_t good = utf8::valid_prefix(text_); good != text_.size())
    return error(Code::format, what_, ": byte ", good, " is not UTF-8");
  JsonCursor cursor(text_, what_);
  JsonMembers model;
  MM2_ASSIGN_OR_RETURN(const JsonMembers document, read_members(&cursor, &model));
  MM2_RETURN_IF_ERROR(cursor.end());
  MM2_RETURN_IF_ERROR(find(document, "model", "model").status());
  MM2_ASSIGN_OR_RETURN(TokenizerPipeline pipeline, read_tokenizer_pipeline(document, model, what_));
  file_.normalizes = pipeline.normalizes;
  file_.ignore_merges = pipeline.ignore_merges;
  file_.added = std::move(pipeline.added);
  file_.ignored = std::move(pipeline.ignored);
  MM2_ASSIGN_OR_RETURN(const std::string_view vocab, find(model, "vocab", "model.vocab"));
  MM2_ASSIGN_OR_RETURN(const std::string_view merges, find(model, "merges", "model.merges"));
  MM2_RETURN_IF_ERROR(read_vocabulary(vocab));
  MM2_RETURN_IF_ERROR(read_merges(merges));
  MM2_RETURN_IF_ERROR(add_added_tokens());
  return std::move(file_);
}

Result<std::string_view> Reader::find(const JsonMembers& members, const char* name,
                                      const std::string& field) const {
  for (const auto& [key, value] : members)
    if (key == name) return value;
  return error(Code::format, what_, ": ", field, " is missing");
}

Status Reader::add_token(const JsonCursor& cursor, std::string_view spelling, uint64_t id) {
  if (id > kMaxTokenId) {
    return cursor.fail(join("model.vocab: token ", in_quotes(spelling), " has id ", id,
                            ", at most ", kMaxTokenId, " is possible"));
  }
  // A token that spells no bytes can never come out of a text; it still has a name.
  const bool is_bytes = bytes_of_spelling(spelling, &bytes_);
  const auto token_id = static_cast<int32_t>(id);
  if (file_.vocabulary.add(token_id, is_bytes ? bytes_ : spelling, is_bytes)) return {};
  if (file_.vocabulary.has(token_id))
    return cursor.fail(join("model.vocab: token ", in_quotes(spelling), " has id ", id,
                            ", as another token before it"));
  return cursor.fail(join("model.vocab: token ", in_quotes(spelling), " stands there twice"));
}

Status Reader::read_vocabulary(std::string_view value) {
  // An entry of the family's file takes 20 bytes or more; others make the tables grow.
  file_.vocabulary.reserve(value.size() / 20, value.size());
  JsonCursor cursor = cursor_at(value);
  MM2_RETURN_IF_ERROR(cursor.expect('{'));
  for (bool first = true, more = true;;) {
    MM2_RETURN_IF_ERROR(cursor.next_item('}', &first, &more));
    if (!more) break;
    std::string_view spelling;
    uint64_t id = 0;
    MM2_RETURN_IF_ERROR(cursor.key(&spelling));
    MM2_RETURN_IF_ERROR(cursor.integer(&id));
    MM2_RETURN_IF_ERROR(add_token(cursor, spelling, id));
  }
  file_.bpe.reserve(file_.vocabulary.n_tokens());
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    const auto id = file_.vocabulary.find(std::string_view(&c, 1));
    if (!id) return error(Code::format, what_, ": model.vocab: no token for byte ", byte);
    file_.bpe.set_byte(static_cast<uint8_t>(byte), *id);
  }
  return {};
}

// "a b", or ["a", "b"].
Status Reader::read_merge(JsonCursor* cursor, std::string* left, std::string* right) const {
  std::string_view spelling;
  bool is_bytes = true;
  if (cursor->peek() == '[') {
    MM2_RETURN_IF_ERROR(cursor->expect('['));
    MM2_RETURN_IF_ERROR(cursor->string(&spelling));
    is_bytes = bytes_of_spelling(spelling, left);
    MM2_RETURN_IF_ERROR(cursor->expect(','));
    MM2_RETURN_IF_ERROR(cursor->string(&spelling));
    is_bytes = bytes_of_spelling(spelling, right) && is_bytes;
    MM2_RETURN_IF_ERROR(cursor->expect(']'));
  } else {
    MM2_RETURN_IF_ERROR(cursor->string(&spelling));
    const size_t blank = spelling.find(' ');
    if (blank == std::string_view::npos)
      return cursor->fail("model.merges: " + in_quotes(spelling) + " is not two tokens");
    is_bytes = bytes_of_spelling(spelling.substr(0, blank), left) &&
               bytes_of_spelling(spelling.substr(blank + 1), right);
  }
  if (!is_bytes) return cursor->fail("model.merges: a merge of what does not spell bytes");
  return {};
}

Status Reader::add_merge(const JsonCursor& cursor, size_t index, std::string* left,
                         const std::string& right) {
  const auto left_id = file_.vocabulary.find(*left);
  const auto right_id = file_.vocabulary.find(right);
  if (!left_id || !right_id) {
    return cursor.fail(join("model.merges[", index, "]: ", in_quotes(left_id ? right : *left),
                            " is not in model.vocab"));
  }
  left->append(right);
  const auto merged = file_.vocabulary.find(*left);
  if (!merged) {
    return cursor.fail(join("model.merges[", index, "]: gives ", in_quotes(*left), " (",
                            left->size(), " bytes), which is not in model.vocab (longest token: ",
                            file_.vocabulary.longest(), " bytes)"));
  }
  file_.bpe.add_merge(*left_id, *right_id, static_cast<uint32_t>(index), *merged);
  return {};
}

Status Reader::read_merges(std::string_view value) {
  JsonCursor cursor = cursor_at(value);
  MM2_RETURN_IF_ERROR(cursor.expect('['));
  std::string left, right;
  bool first = true, more = true;
  for (size_t index = 0;; ++index) {
    MM2_RETURN_IF_ERROR(cursor.next_item(']', &first, &more));
    if (!more) return {};
    MM2_RETURN_IF_ERROR(read_merge(&cursor, &left, &right));
    MM2_RETURN_IF_ERROR(add_merge(cursor, index, &left, right));
  }
}

Status Reader::add_added_tokens() {
  Vocabulary contents;
  for (size_t i = 0; i < file_.added.size(); ++i) {
    const AddedToken& token = file_.added[i];
    const std::string field = join(what_, ": added_tokens[", i, "] ", in_quotes(token.content));
    if (!contents.add(token.id, token.content, true)) {
      return error(Code::format, field, ": id ", token.id,
                   " or the content stands there a second time");
    }
    // It may stand in the vocabulary too, and then under the same id.
    const bool is_bytes = bytes_of_spelling(token.content, &bytes_);
    const auto known = is_bytes ? file_.vocabulary.find(bytes_) : std::nullopt;
    if (known && *known != token.id)
      return error(Code::format, field, ": id ", token.id, ", in model.vocab it is ", *known);
    if (file_.vocabulary.add(token.id, token.content, false)) continue;
    if (!is_bytes) bytes_ = token.content;
    if (file_.vocabulary.bytes(token.id) != bytes_) {
      return error(Code::format, field, ": id ", token.id, " is ",
                   in_quotes(file_.vocabulary.bytes(token.id)), " in model.vocab");
    }
  }
  return {};
}

}  // namespace

Result<TokenizerFile> read_tokenizer_file(std::string_view text, const std::string& what) {
  return Reader(text, what).read();
}

}  // namespace mm2
