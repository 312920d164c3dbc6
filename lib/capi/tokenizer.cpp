#include "capi/tokenizer.h"

#include <string>
#include <utility>

#include "capi/guard.h"
#include "capi/handles.h"
#include "capi/host.h"
#include "text/detokenizer.h"

struct mm2_detokenizer {
  mm2::Detokenizer stream;
};

using namespace mm2::capi;  // NOLINT: this file is the border itself
using mm2::Status;

mm2_status mm2_tokenizer_load(const char* path, const mm2_host* host, mm2_tokenizer** out,
                              mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(path, "path"));
    MM2_RETURN_IF_ERROR(need(out, "out"));
    MM2_ASSIGN_OR_RETURN(const mm2::Host services, read_host(host));
    MM2_ASSIGN_OR_RETURN(auto tokenizer, mm2::Tokenizer::load(path, services));
    give(out, std::move(tokenizer));
    return {};
  });
}

mm2_status mm2_tokenizer_encode(const mm2_tokenizer* tokenizer, const char* text, size_t length,
                                uint32_t flags, mm2_buffer* ids, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(tokenizer, "tokenizer"));
    MM2_RETURN_IF_ERROR(need(ids, "ids"));
    MM2_RETURN_IF_ERROR(need_range("flags", flags, 0, MM2_PARSE_SPECIAL));
    MM2_ASSIGN_OR_RETURN(const auto bytes, need_text(text, length, "text"));
    const bool parse_special = flags == MM2_PARSE_SPECIAL;
    MM2_ASSIGN_OR_RETURN(const auto encoded, tokenizer->tokenizer->encode(bytes, parse_special));
    ids->bytes = bytes_of(encoded);
    return {};
  });
}

mm2_status mm2_tokenizer_decode(const mm2_tokenizer* tokenizer, const int32_t* ids, size_t n_ids,
                                uint32_t flags, mm2_buffer* text, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(tokenizer, "tokenizer"));
    MM2_RETURN_IF_ERROR(need(text, "text"));
    MM2_RETURN_IF_ERROR(need_range("flags", flags, 0, MM2_SKIP_SPECIAL));
    MM2_ASSIGN_OR_RETURN(const auto given, need_array(ids, n_ids, "ids"));
    MM2_ASSIGN_OR_RETURN(text->bytes,
                         tokenizer->tokenizer->decode(given, flags == MM2_SKIP_SPECIAL));
    return {};
  });
}

mm2_status mm2_tokenizer_describe(const mm2_tokenizer* tokenizer, mm2_buffer* json,
                                  mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(tokenizer, "tokenizer"));
    MM2_RETURN_IF_ERROR(need(json, "json"));
    json->bytes = tokenizer->tokenizer->describe();
    return {};
  });
}

mm2_status mm2_tokenizer_n_tokens(const mm2_tokenizer* tokenizer, int32_t* n_tokens,
                                  mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(tokenizer, "tokenizer"));
    MM2_RETURN_IF_ERROR(need(n_tokens, "n_tokens"));
    *n_tokens = tokenizer->tokenizer->id_end();
    return {};
  });
}

mm2_status mm2_tokenizer_is_stop(const mm2_tokenizer* tokenizer, int32_t id, int32_t* stop,
                                 mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(tokenizer, "tokenizer"));
    MM2_RETURN_IF_ERROR(need(stop, "stop"));
    *stop = tokenizer->tokenizer->is_stop(id) ? 1 : 0;
    return {};
  });
}

void mm2_tokenizer_destroy(mm2_tokenizer* tokenizer) {
  delete tokenizer;
}

mm2_status mm2_detokenizer_create(const mm2_tokenizer* tokenizer, uint32_t flags,
                                  mm2_detokenizer** out, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(tokenizer, "tokenizer"));
    MM2_RETURN_IF_ERROR(need(out, "out"));
    MM2_RETURN_IF_ERROR(need_range("flags", flags, 0, MM2_SKIP_SPECIAL));
    give(out, mm2::Detokenizer(tokenizer->tokenizer, flags == MM2_SKIP_SPECIAL));
    return {};
  });
}

mm2_status mm2_detokenizer_push(mm2_detokenizer* stream, int32_t id, mm2_buffer* text,
                                mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(stream, "stream"));
    MM2_RETURN_IF_ERROR(need(text, "text"));
    std::string piece;
    MM2_RETURN_IF_ERROR(stream->stream.push(id, &piece));
    text->bytes = std::move(piece);
    return {};
  });
}

mm2_status mm2_detokenizer_flush(mm2_detokenizer* stream, mm2_buffer* text, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(stream, "stream"));
    MM2_RETURN_IF_ERROR(need(text, "text"));
    std::string piece;
    stream->stream.flush(&piece);
    text->bytes = std::move(piece);
    return {};
  });
}

void mm2_detokenizer_destroy(mm2_detokenizer* stream) {
  delete stream;
}
