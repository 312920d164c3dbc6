// mm2/mm2.hpp: the C ABI for C++17 and later, header only: owners that destroy themselves, errors
// as exceptions, strings and vectors for buffers. It adds nothing to what the C headers say: for
// the contract of a call look there, under the same name.
//
//   const auto model = mm2::Model::load("folder");
//   mm2::Engine engine = model.create_engine();
//   engine.step({{0, 0, n, 1}}, ids, logits);
//
// Handles are moved, not copied. Every call throws mm2::Error where the C function returns anything
// but MM2_OK, unless it says otherwise.
#ifndef MM2_MM2_HPP
#define MM2_MM2_HPP

#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mm2.h"

namespace mm2 {
// Other names for the linker than those of the library's own classes, which a program that links
// the static library holds too.
inline namespace wrapper {

/// A call that did not return MM2_OK: its code, whose error number it has, and the sentence.
class Error : public std::runtime_error {
 public:
  explicit Error(const mm2_error& e)
      : std::runtime_error(e.message),
        code_(e.code),
        domain_(e.domain),
        native_code_(e.native_code) {}
  mm2_status code() const noexcept { return code_; }
  uint32_t domain() const noexcept { return domain_; }
  int32_t native_code() const noexcept { return native_code_; }

 private:
  mm2_status code_;
  uint32_t domain_;
  int32_t native_code_;
};

namespace detail {

/// Calls f(args..., &error) and throws what it says.
template <typename F, typename... Arguments>
void call(F f, Arguments... arguments) {
  mm2_error error;
  mm2_error_init(&error, sizeof error);
  if (f(arguments..., &error) != MM2_OK) throw Error(error);
}

template <auto destroy>
struct Destroy {
  template <typename T>
  void operator()(T* handle) const noexcept {
    destroy(handle);
  }
};
template <typename T, auto destroy>
using Handle = std::unique_ptr<T, Destroy<destroy>>;

class Buffer {
 public:
  Buffer() {
    mm2_buffer* made = nullptr;
    call(mm2_buffer_create, &made);
    handle_.reset(made);
  }
  mm2_buffer* get() const noexcept { return handle_.get(); }
  std::string text() const {
    return {static_cast<const char*>(mm2_buffer_data(get())), mm2_buffer_size(get())};
  }
  std::vector<int32_t> ids() const {
    const auto* data = static_cast<const int32_t*>(mm2_buffer_data(get()));
    return {data, data + mm2_buffer_size(get()) / sizeof(int32_t)};
  }

 private:
  Handle<mm2_buffer, mm2_buffer_destroy> handle_;
};

/// The text that f(arguments..., buffer, &error) writes.
template <typename F, typename... Arguments>
std::string text_of(F f, Arguments... arguments) {
  Buffer buffer;
  call(f, arguments..., buffer.get());
  return buffer.text();
}

}  // namespace detail

/// A struct of the ABI, zeroed, with its struct_size:
/// auto options = mm2::make<mm2_model_options>();
template <typename T>
T make() noexcept {
  T made;
  std::memset(static_cast<void*>(&made), 0, sizeof made);
  made.struct_size = sizeof made;
  return made;
}

inline std::string build_info() {
  return detail::text_of(mm2_build_info);
}
inline std::string system_info() {
  return detail::text_of(mm2_system_info);
}

/// The report of a verb on checkpoints. A failed check throws too.
inline std::string run_tool(const char* verb, std::string_view options_json = {},
                            const mm2_host* host = nullptr) {
  return detail::text_of(mm2_tool_run, verb, options_json.data(), options_json.size(), host);
}

class Engine {
 public:
  explicit Engine(mm2_engine* owned) noexcept : handle_(owned) {}
  mm2_engine* get() const noexcept { return handle_.get(); }

  mm2_engine_info info() const {
    auto info = make<mm2_engine_info>();
    detail::call(mm2_engine_get_info, get(), &info);
    return info;
  }
  mm2_memory memory() const {
    auto memory = make<mm2_memory>();
    detail::call(mm2_engine_get_memory, get(), &memory);
    return memory;
  }
  std::string stats() const { return detail::text_of(mm2_engine_get_stats, get()); }

  /// logits is made as long as the rows ask for. row_status: null, or made as long as rows.
  void step(const std::vector<mm2_seq_rows>& rows, const std::vector<int32_t>& tokens,
            std::vector<float>& logits, std::vector<mm2_status>* row_status = nullptr) {
    auto batch = make<mm2_batch>();
    batch.n_seqs = static_cast<int32_t>(rows.size());
    batch.seqs = rows.data();
    batch.n_tokens = static_cast<int32_t>(tokens.size());
    batch.tokens = tokens.data();
    size_t n_outputs = 0;
    for (const mm2_seq_rows& row : rows) n_outputs += static_cast<size_t>(row.n_outputs);
    logits.resize(n_outputs * static_cast<size_t>(info().n_vocab));
    if (row_status != nullptr) row_status->assign(rows.size(), MM2_OK);
    detail::call(mm2_engine_step, get(), &batch, logits.data(), logits.size(),
                 row_status == nullptr ? nullptr : row_status->data());
  }
  /// Any thread.
  void interrupt() noexcept { mm2_engine_interrupt(get()); }
  /// Not during a step.
  void clear_interrupt() noexcept { mm2_engine_clear_interrupt(get()); }

  /// Blocks of the KV pool that steps can have.
  int64_t free_kv_blocks() const {
    int64_t n = 0;
    detail::call(mm2_kv_pool, get(), &n, nullptr, nullptr);
    return n;
  }
  int32_t length(int32_t seq_id) const {
    int32_t length = 0;
    detail::call(mm2_seq_length, get(), seq_id, &length);
    return length;
  }
  void fork(int32_t from, int32_t to, int32_t length) {
    detail::call(mm2_seq_fork, get(), from, to, length);
  }
  void truncate(int32_t seq_id, int32_t length) {
    detail::call(mm2_seq_truncate, get(), seq_id, length);
  }
  void free(int32_t seq_id) { detail::call(mm2_seq_free, get(), seq_id); }

  std::string export_sequence(int32_t seq_id) const {
    return detail::text_of(mm2_seq_export, get(), seq_id);
  }
  void import_sequence(int32_t seq_id, std::string_view bytes) {
    detail::call(mm2_seq_import, get(), seq_id, static_cast<const void*>(bytes.data()),
                 bytes.size());
  }

  /// How many tokens of the prompt the sequence begins with.
  int32_t match_prefix(int32_t seq_id, const std::vector<int32_t>& prompt, uint64_t salt = 0) {
    int32_t matched = 0;
    detail::call(mm2_prefix_match, get(), seq_id, prompt.data(),
                 static_cast<int32_t>(prompt.size()), salt, &matched);
    return matched;
  }
  int64_t evict_prefixes(int64_t n_blocks) {
    int64_t evicted = 0;
    detail::call(mm2_prefix_evict, get(), n_blocks, &evicted);
    return evicted;
  }
  /// salt: null = all.
  void clear_prefixes(const uint64_t* salt = nullptr) {
    detail::call(mm2_prefix_clear, get(), salt);
  }

 private:
  detail::Handle<mm2_engine, mm2_engine_destroy> handle_;
};

class Model {
 public:
  explicit Model(mm2_model* owned) noexcept : handle_(owned) {}
  mm2_model* get() const noexcept { return handle_.get(); }

  static Model load(const std::string& path, const mm2_model_options* options = nullptr) {
    mm2_model* made = nullptr;
    detail::call(mm2_model_load, path.c_str(), options, &made);
    return Model(made);
  }
  mm2_model_info info() const {
    auto info = make<mm2_model_info>();
    detail::call(mm2_model_get_info, get(), &info);
    return info;
  }
  std::string describe() const { return detail::text_of(mm2_model_describe, get()); }
  mm2_memory estimate(const mm2_engine_options* options = nullptr) const {
    auto memory = make<mm2_memory>();
    detail::call(mm2_engine_estimate, get(), options, &memory);
    return memory;
  }
  Engine create_engine(const mm2_engine_options* options = nullptr) const {
    mm2_engine* made = nullptr;
    detail::call(mm2_engine_create, get(), options, &made);
    return Engine(made);
  }
  /// options with what the model's generation_config.json says.
  mm2_sampler_options sampler_options() const {
    auto options = make<mm2_sampler_options>();
    detail::call(mm2_sampler_options_from_model, get(), &options);
    return options;
  }

 private:
  detail::Handle<mm2_model, mm2_model_destroy> handle_;
};

class Sampler {
 public:
  explicit Sampler(mm2_sampler* owned) noexcept : handle_(owned) {}
  Sampler(const mm2_sampler_options& options, int32_t n_vocab) {
    mm2_sampler* made = nullptr;
    detail::call(mm2_sampler_create, &options, n_vocab, &made);
    handle_.reset(made);
  }
  mm2_sampler* get() const noexcept { return handle_.get(); }

  Sampler clone() const {
    mm2_sampler* made = nullptr;
    detail::call(mm2_sampler_clone, get(), &made);
    return Sampler(made);
  }
  /// logits: [n_vocab]. top: null or [1 + n_logprobs].
  int32_t sample(const float* logits, mm2_token_logprob* top = nullptr) {
    int32_t token = 0;
    detail::call(mm2_sampler_sample, get(), logits, &token, top);
    return token;
  }
  void accept(int32_t token) { detail::call(mm2_sampler_accept, get(), token); }
  void accept_prompt(const std::vector<int32_t>& tokens) {
    detail::call(mm2_sampler_accept_prompt, get(), tokens.data(), tokens.size());
  }
  void set_seed(uint64_t seed) { detail::call(mm2_sampler_set_seed, get(), seed); }
  void reset() noexcept { mm2_sampler_reset(get()); }

 private:
  detail::Handle<mm2_sampler, mm2_sampler_destroy> handle_;
};

class Detokenizer {
 public:
  explicit Detokenizer(mm2_detokenizer* owned) noexcept : handle_(owned) {}
  mm2_detokenizer* get() const noexcept { return handle_.get(); }
  std::string push(int32_t id) {
    detail::call(mm2_detokenizer_push, get(), id, piece_.get());
    return piece_.text();
  }
  std::string flush() {
    detail::call(mm2_detokenizer_flush, get(), piece_.get());
    return piece_.text();
  }

 private:
  detail::Handle<mm2_detokenizer, mm2_detokenizer_destroy> handle_;
  detail::Buffer piece_;
};

class Tokenizer {
 public:
  explicit Tokenizer(mm2_tokenizer* owned) noexcept : handle_(owned) {}
  mm2_tokenizer* get() const noexcept { return handle_.get(); }

  static Tokenizer load(const std::string& path, const mm2_host* host = nullptr) {
    mm2_tokenizer* made = nullptr;
    detail::call(mm2_tokenizer_load, path.c_str(), host, &made);
    return Tokenizer(made);
  }
  std::vector<int32_t> encode(std::string_view text, uint32_t flags = 0) const {
    detail::Buffer ids;
    detail::call(mm2_tokenizer_encode, get(), text.data(), text.size(), flags, ids.get());
    return ids.ids();
  }
  std::string decode(const std::vector<int32_t>& ids, uint32_t flags = 0) const {
    return detail::text_of(mm2_tokenizer_decode, get(), ids.data(), ids.size(), flags);
  }
  std::string describe() const { return detail::text_of(mm2_tokenizer_describe, get()); }
  int32_t n_tokens() const {
    int32_t n_tokens = 0;
    detail::call(mm2_tokenizer_n_tokens, get(), &n_tokens);
    return n_tokens;
  }
  bool is_stop(int32_t id) const {
    int32_t stop = 0;
    detail::call(mm2_tokenizer_is_stop, get(), id, &stop);
    return stop != 0;
  }
  Detokenizer stream(uint32_t flags = 0) const {
    mm2_detokenizer* made = nullptr;
    detail::call(mm2_detokenizer_create, get(), flags, &made);
    return Detokenizer(made);
  }

 private:
  detail::Handle<mm2_tokenizer, mm2_tokenizer_destroy> handle_;
};

class ChatTemplate {
 public:
  struct Prompt {
    std::string text;
    std::vector<int32_t> ids;
  };

  explicit ChatTemplate(mm2_chat_template* owned) noexcept : handle_(owned) {}
  mm2_chat_template* get() const noexcept { return handle_.get(); }

  static ChatTemplate load(const std::string& path, const mm2_host* host = nullptr) {
    mm2_chat_template* made = nullptr;
    detail::call(mm2_chat_template_load, path.c_str(), host, &made);
    return ChatTemplate(made);
  }
  static ChatTemplate parse(std::string_view source) {
    mm2_chat_template* made = nullptr;
    detail::call(mm2_chat_template_parse, source.data(), source.size(), &made);
    return ChatTemplate(made);
  }
  /// JSON; see mm2_chat_template_describe.
  std::string describe() const {
    detail::Buffer json;
    detail::call(mm2_chat_template_describe, get(), json.get());
    return json.text();
  }
  Prompt render(const Tokenizer& tokenizer, std::string_view request_json,
                const mm2_budget* budget = nullptr) const {
    detail::Buffer text, ids;
    detail::call(mm2_chat_render, get(), tokenizer.get(), request_json.data(), request_json.size(),
                 budget, text.get(), ids.get());
    return {text.text(), ids.ids()};
  }

 private:
  detail::Handle<mm2_chat_template, mm2_chat_template_destroy> handle_;
};

/// The output of any Jinja template; see mm2_jinja_render.
inline std::string render_jinja(std::string_view source, std::string_view context_json,
                                const char* now = nullptr, const mm2_budget* budget = nullptr) {
  detail::Buffer text;
  detail::call(mm2_jinja_render, source.data(), source.size(), context_json.data(),
               context_json.size(), now, budget, text.get(), nullptr);
  return text.text();
}

class Parser {
 public:
  explicit Parser(const mm2_parser_options& options) {
    mm2_parser* made = nullptr;
    detail::call(mm2_parser_create, &options, &made);
    handle_.reset(made);
  }
  mm2_parser* get() const noexcept { return handle_.get(); }

  /// MM2_PARSER_* by the name that servers use.
  static int32_t mode(const std::string& name) {
    int32_t mode = 0;
    detail::call(mm2_parser_mode, name.c_str(), &mode);
    return mode;
  }

  void push(std::string_view bytes) {
    detail::call(mm2_parser_push, get(), bytes.data(), bytes.size());
  }
  void push(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
    detail::call(mm2_parser_push_ids, get(), tokenizer.get(), ids.data(), ids.size());
  }
  void finish() { detail::call(mm2_parser_finish, get()); }
  /// Empty when there is none now. The event's data lives until the parser is next called.
  std::optional<mm2_event> next() {
    auto event = make<mm2_event>();
    auto error = make<mm2_error>();
    const mm2_status status = mm2_parser_next(get(), &event, &error);
    if (status == MM2_NO_MORE) return std::nullopt;
    if (status != MM2_OK) throw Error(error);
    return event;
  }
  void reset() noexcept { mm2_parser_reset(get()); }

 private:
  detail::Handle<mm2_parser, mm2_parser_destroy> handle_;
};

}  // namespace wrapper
}  // namespace mm2

#endif
