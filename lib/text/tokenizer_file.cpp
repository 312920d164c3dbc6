#include "text/tokenizer_file.h"

#include <algorithm>
#include <array>
#include <memory>

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

// Reads one document. The vocabulary and the merges are read where they stand, if the vocabulary
// comes first as in every file that Hugging Face writes; what is wrong with them is told only after
// the pipeline has been found to be the family's.
class Reader {
 public:
  Reader(std::string_view text, const std::string& what)
      : text_(text), what_(what), cursor_(text, what) {}

  Result<TokenizerFile> read();

 private:
  // Merges that are looked up together.
  struct Batch {
    static constexpr size_t kSize = 256;
    struct Merge {
      size_t position = 0;  // behind it
      size_t begin = 0;     // of the left token in `bytes`; the right one follows
      size_t middle = 0;
      size_t end = 0;
    };
    size_t n = 0;
    std::string bytes;
    std::array<Merge, kSize> merges;
    std::array<std::string_view, 2 * kSize> sides;
    std::array<int32_t, 2 * kSize> ids;
  };
  enum class Part : uint8_t { missing, skipped, read };

  Result<JsonMembers> read_members(bool of_model, JsonMembers* model);
  Status read_large(const std::string& name, std::string_view* value);
  Status read_what_was_skipped(const JsonMembers& model);
  Status read_vocabulary();
  Status add_token(std::string_view spelling, uint64_t id);
  Status set_bytes();
  Status read_merges();
  Status read_merge(Batch* batch);
  Status add_merges(Batch* batch);
  Result<int32_t> merged_id(const Batch& batch, size_t i);
  Status add_added_tokens();

  std::string_view text_;
  const std::string& what_;
  JsonCursor cursor_;
  Part vocabulary_ = Part::missing;
  Part merges_ = Part::missing;
  Status large_status_;  // of the vocabulary and the merges
  std::string bytes_;
  std::vector<int32_t> searchable_;
  size_t n_merges_ = 0;
  int32_t last_merged_ = 0;
  TokenizerFile file_;
};

Result<TokenizerFile> Reader::read() {
  if (const size_t good = utf8::valid_prefix(text_); good != text_.size())
    return error(Code::format, what_, ": byte ", good, " is not UTF-8");
  JsonMembers model;
  MM2_ASSIGN_OR_RETURN(const JsonMembers document, read_members(false, &model));
  MM2_RETURN_IF_ERROR(cursor_.end());
  const auto is_model = [](const auto& member) { return member.first == "model"; };
  if (std::none_of(document.begin(), document.end(), is_model))
    return error(Code::format, what_, ": model is missing");
  MM2_ASSIGN_OR_RETURN(TokenizerPipeline pipeline, read_tokenizer_pipeline(document, model, what_));
  file_.normalizes = pipeline.normalizes;
  file_.ignore_merges = pipeline.ignore_merges;
  file_.added = std::move(pipeline.added);
  file_.ignored = std::move(pipeline.ignored);
  MM2_RETURN_IF_ERROR(read_what_was_skipped(model));
  MM2_RETURN_IF_ERROR(add_added_tokens());
  return std::move(file_);
}

// The members of an object; those of its member "model" go to *model.
Result<JsonMembers> Reader::read_members(bool of_model, JsonMembers* model) {
  JsonMembers members;
  MM2_RETURN_IF_ERROR(cursor_.expect('{'));
  for (bool first = true, more = true;;) {
    MM2_RETURN_IF_ERROR(cursor_.next_item('}', &first, &more));
    if (!more) return members;
    std::string_view key, value;
    MM2_RETURN_IF_ERROR(cursor_.key(&key));
    const std::string name(key);
    for (const auto& member : members)
      if (member.first == name) return cursor_.fail("a second member " + in_quotes(name));
    // Each member is compared with all before it, so their number must stay small.
    if (members.size() == 64) return cursor_.fail("more than 64 members");
    if (!of_model && name == "model") {
      MM2_ASSIGN_OR_RETURN(*model, read_members(true, nullptr));
    } else if (of_model && (name == "vocab" || name == "merges")) {
      MM2_RETURN_IF_ERROR(read_large(name, &value));
    } else {
      MM2_RETURN_IF_ERROR(cursor_.skip(&value));
    }
    members.emplace_back(name, value);
  }
}

Status Reader::read_large(const std::string& name, std::string_view* value) {
  const bool is_vocabulary = name == "vocab";
  Part& part = is_vocabulary ? vocabulary_ : merges_;
  part = is_vocabulary || vocabulary_ == Part::read ? Part::read : Part::skipped;
  cursor_.peek();
  const size_t begin = cursor_.position();
  if (part == Part::read && large_status_.ok()) {
    large_status_ = is_vocabulary ? read_vocabulary() : read_merges();
    if (large_status_.ok()) return {};
    cursor_.move_to(begin);
  }
  return cursor_.skip(value);
}

Status Reader::read_what_was_skipped(const JsonMembers& model) {
  if (vocabulary_ == Part::missing) return error(Code::format, what_, ": model.vocab is missing");
  if (merges_ == Part::missing) return error(Code::format, what_, ": model.merges is missing");
  MM2_RETURN_IF_ERROR(std::move(large_status_));
  if (merges_ == Part::read) return {};
  for (const auto& [name, value] : model) {
    if (name != "merges") continue;
    cursor_.move_to(static_cast<size_t>(value.data() - text_.data()));
    return read_merges();
  }
  return {};
}

Status Reader::add_token(std::string_view spelling, uint64_t id) {
  if (id > kMaxTokenId) {
    return cursor_.fail(join("model.vocab: token ", in_quotes(spelling), " has id ", id,
                             ", at most ", kMaxTokenId, " is possible"));
  }
  // A token that spells no bytes can never come out of a text; it still has a name.
  const bool is_bytes = bytes_of_spelling(spelling, &bytes_);
  const auto token_id = static_cast<int32_t>(id);
  if (!file_.vocabulary.add(token_id, is_bytes ? bytes_ : spelling, false)) {
    return cursor_.fail(join("model.vocab: token ", in_quotes(spelling), " has id ", id,
                             ", as another token before it"));
  }
  if (is_bytes) searchable_.push_back(token_id);
  return {};
}

Status Reader::read_vocabulary() {
  // Of the rest of the text a good part is not the vocabulary; what is too small here grows.
  const size_t n_bytes = text_.size() - cursor_.position();
  file_.vocabulary.reserve(n_bytes / 48, n_bytes / 4);
  searchable_.reserve(n_bytes / 48);
  MM2_RETURN_IF_ERROR(cursor_.expect('{'));
  for (bool first = true, more = true;;) {
    MM2_RETURN_IF_ERROR(cursor_.next_item('}', &first, &more));
    if (!more) break;
    std::string_view spelling;
    uint64_t id = 0;
    MM2_RETURN_IF_ERROR(cursor_.key(&spelling));
    MM2_RETURN_IF_ERROR(cursor_.integer(&id));
    MM2_RETURN_IF_ERROR(add_token(spelling, id));
  }
  if (const auto twice = file_.vocabulary.index(searchable_)) {
    return error(Code::format, what_, ": model.vocab: token ",
                 in_quotes(file_.vocabulary.bytes(*twice)), " stands there twice");
  }
  return set_bytes();
}

Status Reader::set_bytes() {
  file_.bpe.reserve(static_cast<size_t>(file_.vocabulary.n_tokens()));
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    const auto id = file_.vocabulary.find(std::string_view(&c, 1));
    if (!id) return error(Code::format, what_, ": model.vocab: no token for byte ", byte);
    file_.bpe.set_byte(static_cast<uint8_t>(byte), *id);
  }
  return {};
}

Status Reader::read_merges() {
  MM2_RETURN_IF_ERROR(cursor_.expect('['));
  auto batch = std::make_unique<Batch>();
  for (bool first = true, more = true;;) {
    MM2_RETURN_IF_ERROR(cursor_.next_item(']', &first, &more));
    if (!more) return add_merges(batch.get());
    MM2_RETURN_IF_ERROR(read_merge(batch.get()));
    if (batch->n == Batch::kSize) MM2_RETURN_IF_ERROR(add_merges(batch.get()));
  }
}

// "a b", or ["a", "b"].
Status Reader::read_merge(Batch* batch) {
  Batch::Merge& merge = batch->merges[batch->n];
  std::string_view spelling;
  bool is_bytes = true;
  merge.begin = batch->bytes.size();
  if (cursor_.peek() == '[') {
    MM2_RETURN_IF_ERROR(cursor_.expect('['));
    MM2_RETURN_IF_ERROR(cursor_.string(&spelling));
    is_bytes = append_bytes_of_spelling(spelling, &batch->bytes);
    merge.middle = batch->bytes.size();
    MM2_RETURN_IF_ERROR(cursor_.expect(','));
    MM2_RETURN_IF_ERROR(cursor_.string(&spelling));
    is_bytes = append_bytes_of_spelling(spelling, &batch->bytes) && is_bytes;
    MM2_RETURN_IF_ERROR(cursor_.expect(']'));
  } else {
    MM2_RETURN_IF_ERROR(cursor_.string(&spelling));
    const size_t blank = spelling.find(' ');
    if (blank == std::string_view::npos)
      return cursor_.fail("model.merges: " + in_quotes(spelling) + " is not two tokens");
    is_bytes = append_bytes_of_spelling(spelling.substr(0, blank), &batch->bytes);
    merge.middle = batch->bytes.size();
    is_bytes = append_bytes_of_spelling(spelling.substr(blank + 1), &batch->bytes) && is_bytes;
  }
  if (!is_bytes) return cursor_.fail("model.merges: a merge of what does not spell bytes");
  merge.end = batch->bytes.size();
  merge.position = cursor_.position();
  ++batch->n;
  return {};
}

Status Reader::add_merges(Batch* batch) {
  const std::string_view bytes = batch->bytes;
  for (size_t i = 0; i < batch->n; ++i) {
    const Batch::Merge& merge = batch->merges[i];
    batch->sides[2 * i] = bytes.substr(merge.begin, merge.middle - merge.begin);
    batch->sides[2 * i + 1] = bytes.substr(merge.middle, merge.end - merge.middle);
  }
  file_.vocabulary.find({batch->sides.data(), 2 * batch->n}, batch->ids.data());
  for (size_t i = 0; i < batch->n; ++i)
    file_.bpe.prefetch(batch->ids[2 * i], batch->ids[2 * i + 1]);
  for (size_t i = 0; i < batch->n; ++i) {
    const int32_t left = batch->ids[2 * i], right = batch->ids[2 * i + 1];
    if (left < 0 || right < 0) {
      const std::string_view missing = batch->sides[2 * i + (left < 0 ? 0 : 1)];
      return cursor_.fail(
          join("model.merges[", n_merges_, "]: ", in_quotes(missing), " is not in model.vocab"),
          batch->merges[i].position);
    }
    MM2_ASSIGN_OR_RETURN(const int32_t merged, merged_id(*batch, i));
    file_.bpe.add_merge(left, right, static_cast<uint32_t>(n_merges_++), merged);
  }
  batch->n = 0;
  batch->bytes.clear();
  return {};
}

Result<int32_t> Reader::merged_id(const Batch& batch, size_t i) {
  const Batch::Merge& merge = batch.merges[i];
  const std::string_view bytes =
      std::string_view(batch.bytes).substr(merge.begin, merge.end - merge.begin);
  // In most vocabularies each merge gives the token behind that of the merge before. Where some
  // tokens cannot be found by their bytes, it might be one of those.
  const int32_t guess = last_merged_ + 1;
  const bool all_searchable =
      searchable_.size() == static_cast<size_t>(file_.vocabulary.n_tokens());
  if (all_searchable && file_.vocabulary.has(guess) && file_.vocabulary.bytes(guess) == bytes)
    return last_merged_ = guess;
  const auto found = file_.vocabulary.find(bytes);
  if (!found) {
    return cursor_.fail(join("model.merges[", n_merges_, "]: gives ", in_quotes(bytes), " (",
                             bytes.size(), " bytes), which is not in model.vocab (longest token: ",
                             file_.vocabulary.longest(), " bytes)"),
                        merge.position);
  }
  return last_merged_ = *found;
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
