// mm2 tokenize, mm2 detokenize: text to token ids and back. They need no weights.
#include <cstdio>

#include "json_io.h"
#include "model_path.h"
#include "program.h"
#include "session.h"

namespace cli {
namespace {

struct TextOptions {
  std::string model;
  bool json_lines = false;
  bool plain = false;         // tokenize: spelled-out added tokens are ordinary text
  bool skip_special = false;  // detokenize
};

Tokenizer load_tokenizer(const std::string& path) {
  return make<Tokenizer>("loading the tokenizer of " + path, mm2_tokenizer_load, path.c_str(),
                         nullptr);
}

int base64_value(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

std::string decode_base64(const std::string& text) {
  std::string bytes;
  uint32_t bits = 0;
  int n_bits = 0;
  for (const char c : text) {
    if (c == '=') break;
    const int value = base64_value(c);
    if (value < 0) {
      throw Failure(kInvalidInput, "reading bytes_b64",
                    std::string("'") + c + "' is no base64 character");
    }
    bits = bits << 6 | static_cast<uint32_t>(value);
    n_bits += 6;
    if (n_bits >= 8) {
      n_bits -= 8;
      bytes += static_cast<char>(bits >> n_bits & 0xff);
    }
  }
  return bytes;
}

std::string decode(const mm2_tokenizer* tokenizer, const TokenIds& ids, uint32_t flags) {
  Buffer text;
  call("detokenizing", mm2_tokenizer_decode, tokenizer, ids.data(), ids.size(), flags, text.get());
  return std::string(text.text());
}

/// What each id adds to the text, then what the flush does.
Json stream_pieces(const mm2_tokenizer* tokenizer, const TokenIds& ids, uint32_t flags) {
  const auto stream =
      make<Detokenizer>("starting a stream", mm2_detokenizer_create, tokenizer, flags);
  Json pieces = Json::array();
  Buffer text;
  for (const int32_t id : ids) {
    call("detokenizing", mm2_detokenizer_push, stream.get(), id, text.get());
    pieces.push_back(text.text());
  }
  call("detokenizing", mm2_detokenizer_flush, stream.get(), text.get());
  pieces.push_back(text.text());
  return pieces;
}

ExitCode run_tokenize(const TextOptions& options) {
  const Tokenizer tokenizer = load_tokenizer(find_model(options.model));
  const uint32_t flags = options.plain ? 0 : MM2_PARSE_SPECIAL;
  if (options.json_lines) {
    return run_json_lines([&](const std::string& line) -> Json {
      const Json request = parse_request(line);
      const std::string text = request.contains("bytes_b64")
                                   ? decode_base64(string_of(request, "bytes_b64"))
                                   : string_of(request, "text");
      return {{"ids", encode(tokenizer.get(), text, flags)}};
    });
  }
  const TokenIds ids = encode(tokenizer.get(), read_standard_input(), flags);
  for (const int32_t id : ids) {
    std::printf("%8d  %s\n", id, to_text(Json(decode(tokenizer.get(), {id}, 0))).c_str());
  }
  std::fprintf(stderr, "%zu tokens\n", ids.size());
  return kOk;
}

ExitCode run_detokenize(const TextOptions& options) {
  const Tokenizer tokenizer = load_tokenizer(find_model(options.model));
  if (options.json_lines) {
    return run_json_lines([&](const std::string& line) -> Json {
      const Json request = parse_request(line);
      const TokenIds ids = ids_of(request.value("ids", Json()), "reading the line");
      const uint32_t flags = flag_of(request, "skip_special") ? MM2_SKIP_SPECIAL : 0;
      if (flag_of(request, "stream")) {
        return {{"pieces", stream_pieces(tokenizer.get(), ids, flags)}};
      }
      return {{"text", decode(tokenizer.get(), ids, flags)}};
    });
  }
  const TokenIds ids = parse_ids(read_standard_input());
  const std::string text =
      decode(tokenizer.get(), ids, options.skip_special ? MM2_SKIP_SPECIAL : 0);
  std::fwrite(text.data(), 1, text.size(), stdout);
  return kOk;
}

}  // namespace

void add_tokenize(Program& program) {
  const auto options = std::make_shared<TextOptions>();
  CLI::App* verb = program.add_verb("tokenize", "Token ids of the text on standard input",
                                    "echo 'Hello there' | mm2 tokenize examples/models/mm2-tiny");
  add_model(verb, options->model);
  verb->add_flag("--jsonl", options->json_lines,
                 "{\"text\"} or {\"bytes_b64\"} a line in, {\"ids\"} a line out");
  verb->add_flag("--plain", options->plain, "spelled-out special tokens are ordinary text");
  program.on_run(verb, [options] { return run_tokenize(*options); });
}

void add_detokenize(Program& program) {
  const auto options = std::make_shared<TextOptions>();
  CLI::App* verb = program.add_verb("detokenize", "Text of the token ids on standard input",
                                    "echo 72,101,121 | mm2 detokenize examples/models/mm2-tiny");
  add_model(verb, options->model);
  verb->add_flag(
      "--jsonl", options->json_lines,
      "{\"ids\", \"skip_special\", \"stream\"} a line in, {\"text\"} or {\"pieces\"} out");
  verb->add_flag("--skip-special", options->skip_special, "special tokens give no text");
  program.on_run(verb, [options] { return run_detokenize(*options); });
}

}  // namespace cli
