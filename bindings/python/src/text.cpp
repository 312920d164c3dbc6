#include <optional>

#include "core.h"
#include "host.h"
#include "quick.h"

namespace mm2::python {
namespace {

using namespace py::literals;

uint32_t flag(bool wanted, uint32_t value) {
  return wanted ? value : 0u;
}

mm2::Tokenizer load_tokenizer(const std::string& path) {
  const Host host;
  const py::gil_scoped_release released;
  return mm2::Tokenizer::load(path, host.get());
}

std::vector<int32_t> encode(const mm2::Tokenizer& tokenizer, const py::object& text, bool special) {
  const std::string_view bytes = bytes_of(text);
  const py::gil_scoped_release released;
  return tokenizer.encode(bytes, flag(special, MM2_PARSE_SPECIAL));
}

py::str decode(const mm2::Tokenizer& tokenizer, const py::object& tokens, bool skip_special) {
  const std::vector<int32_t> ids = ids_of(tokens);
  std::string text;
  {
    const py::gil_scoped_release released;
    text = tokenizer.decode(ids, flag(skip_special, MM2_SKIP_SPECIAL));
  }
  return to_str(text);
}

mm2::ChatTemplate load_template(const std::string& path, const py::object& source) {
  if (!source.is_none()) return mm2::ChatTemplate::parse(bytes_of(source));
  const Host host;
  const py::gil_scoped_release released;
  return mm2::ChatTemplate::load(path, host.get());
}

py::tuple render(const mm2::ChatTemplate& chat, const mm2::Tokenizer* tokenizer,
                 const py::object& request) {
  const std::string_view json = bytes_of(request);
  mm2::detail::Buffer text, ids;
  {
    const py::gil_scoped_release released;
    mm2::detail::call(mm2_chat_render, chat.get(),
                      tokenizer == nullptr ? nullptr : tokenizer->get(), json.data(), json.size(),
                      nullptr, text.get(), tokenizer == nullptr ? nullptr : ids.get());
  }
  return py::make_tuple(to_str(text.text()), ids.ids());
}

py::object push(mm2::Detokenizer& stream, Arguments& given) {
  const int32_t token = int32_of(given.need(0, "token"), "token");
  given.finish();
  return to_str(stream.push(token));
}

}  // namespace

void bind_text(py::module_& m) {
  py::class_<mm2::Detokenizer> stream(m, "Detokenizer");
  add_quick<mm2::Detokenizer, push>(stream, "push");
  stream.def("flush", [](mm2::Detokenizer& s) { return to_str(s.flush()); });
  py::class_<mm2::Tokenizer>(m, "Tokenizer")
      .def(py::init(&load_tokenizer), "path"_a)
      .def("encode", &encode, "text"_a, py::kw_only(), "special"_a = false)
      .def("decode", &decode, "tokens"_a, py::kw_only(), "skip_special"_a = false)
      .def(
          "stream",
          [](const mm2::Tokenizer& t, bool skip_special) {
            return t.stream(flag(skip_special, MM2_SKIP_SPECIAL));
          },
          py::kw_only(), "skip_special"_a = false)
      .def(
          "is_stop", [](const mm2::Tokenizer& t, int32_t id) { return t.is_stop(id); }, "token"_a)
      .def_property_readonly("n_tokens", &mm2::Tokenizer::n_tokens)
      .def("_describe", [](const mm2::Tokenizer& t) { return to_str(t.describe()); });
  py::class_<mm2::ChatTemplate>(m, "ChatTemplate")
      .def(py::init(&load_template), "path"_a, "source"_a = py::none())
      .def("_describe", [](const mm2::ChatTemplate& c) { return to_str(c.describe()); })
      .def("_render", &render, "tokenizer"_a, "request"_a);
}

}  // namespace mm2::python
