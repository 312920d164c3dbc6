#include "core.h"

namespace mm2::python {
namespace {

using namespace py::literals;

mm2::Parser make_parser(int32_t mode, bool starts_in_think, const py::object& tools_json) {
  auto options = mm2::make<mm2_parser_options>();
  options.mode = mode;
  options.starts_in_think = starts_in_think ? 1 : 0;
  if (!tools_json.is_none()) {
    const std::string_view json = bytes_of(tools_json);
    options.tools_json = json.data();
    options.tools_json_length = json.size();
  }
  return mm2::Parser(options);
}

/// Every event that there is now, as (kind, call_index, incomplete, data).
py::list drain(mm2::Parser& parser) {
  py::list events;
  while (const auto event = parser.next()) {
    const std::string_view data(event->data == nullptr ? "" : event->data, event->length);
    events.append(
        py::make_tuple(event->kind, event->call_index, event->incomplete != 0, to_str(data)));
  }
  return events;
}

}  // namespace

void bind_parser(py::module_& m) {
  py::class_<mm2::Parser>(m, "Parser")
      .def(py::init(&make_parser), "mode"_a = 0, "starts_in_think"_a = false,
           "tools_json"_a = py::none())
      .def(
          "push",
          [](mm2::Parser& parser, const py::object& text) {
            parser.push(bytes_of(text));
            return drain(parser);
          },
          "text"_a)
      .def(
          "push_ids",
          [](mm2::Parser& parser, const mm2::Tokenizer& tokenizer, const py::object& ids) {
            parser.push(tokenizer, ids_of(ids));
            return drain(parser);
          },
          "tokenizer"_a, "ids"_a)
      .def("finish",
           [](mm2::Parser& parser) {
             parser.finish();
             return drain(parser);
           })
      .def("reset", [](mm2::Parser& parser) { parser.reset(); });
}

}  // namespace mm2::python
