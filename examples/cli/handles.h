// The handles of the C ABI as owners that destroy what they own, and nothing more.
#pragma once

#include <mm2/mm2.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "errors.h"

namespace cli {

template <auto destroy>
struct Destroy {
  template <typename T>
  void operator()(T* object) const {
    destroy(object);
  }
};

using Model = std::unique_ptr<mm2_model, Destroy<mm2_model_destroy>>;
using Engine = std::unique_ptr<mm2_engine, Destroy<mm2_engine_destroy>>;
using Sampler = std::unique_ptr<mm2_sampler, Destroy<mm2_sampler_destroy>>;
using Tokenizer = std::unique_ptr<mm2_tokenizer, Destroy<mm2_tokenizer_destroy>>;
using Detokenizer = std::unique_ptr<mm2_detokenizer, Destroy<mm2_detokenizer_destroy>>;
using ChatTemplate = std::unique_ptr<mm2_chat_template, Destroy<mm2_chat_template_destroy>>;
using Parser = std::unique_ptr<mm2_parser, Destroy<mm2_parser_destroy>>;

using TokenIds = std::vector<int32_t>;

/// A growable result of the library.
class Buffer {
 public:
  Buffer() {
    mm2_buffer* made = nullptr;
    call("making a buffer", mm2_buffer_create, &made);
    buffer_.reset(made);
  }
  mm2_buffer* get() const { return buffer_.get(); }
  std::string_view text() const {
    return {static_cast<const char*>(mm2_buffer_data(get())), mm2_buffer_size(get())};
  }
  TokenIds ids() const {
    const auto* first = static_cast<const int32_t*>(mm2_buffer_data(get()));
    return {first, first + mm2_buffer_size(get()) / sizeof(int32_t)};
  }

 private:
  std::unique_ptr<mm2_buffer, Destroy<mm2_buffer_destroy>> buffer_;
};

/// Turns the out pointer of a creating call into an owner:
///   auto tokenizer = make<Tokenizer>(doing, mm2_tokenizer_load, path, nullptr);
template <typename Owner, typename Function, typename... Arguments>
Owner make(const std::string& doing, Function function, Arguments... arguments) {
  typename Owner::pointer made = nullptr;
  call(doing, function, arguments..., &made);
  return Owner(made);
}

/// A struct of the C ABI with struct_size set and everything else zero.
template <typename Struct>
Struct sized() {
  Struct value{};
  value.struct_size = sizeof value;
  return value;
}

}  // namespace cli
