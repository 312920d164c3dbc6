#include "output_parser.h"

namespace cli {

void ParsedOutput::add(const mm2_event& event, std::string_view data) {
  switch (event.kind) {
    case MM2_EVENT_REASONING:
      reasoning += data;
      break;
    case MM2_EVENT_TEXT:
      content += data;
      break;
    case MM2_EVENT_CALL_BEGIN:
      calls.push_back({std::string(data), ""});
      break;
    case MM2_EVENT_CALL_ARGUMENTS:
      calls.back().arguments += data;
      break;
    case MM2_EVENT_CALL_END:
      n_ended_ = calls.size();
      return;
    case MM2_EVENT_FINISH:
      calls.resize(n_ended_);
      incomplete = event.incomplete != 0;
      return;
    default:
      return;
  }
  ++n_deltas;
}

OutputParser::OutputParser(int32_t mode, bool starts_in_think, const std::string& tools_json,
                           OnEvent on_event)
    : on_event_(std::move(on_event)) {
  auto options = sized<mm2_parser_options>();
  options.mode = mode;
  options.starts_in_think = starts_in_think ? 1 : 0;
  if (!tools_json.empty()) {
    options.tools_json = tools_json.data();
    options.tools_json_length = tools_json.size();
  }
  parser_ = make<Parser>("making an output parser", mm2_parser_create, &options);
}

void OutputParser::push(std::string_view bytes) {
  call("parsing the output", mm2_parser_push, parser_.get(), bytes.data(), bytes.size());
  drain();
}

void OutputParser::finish() {
  call("parsing the output", mm2_parser_finish, parser_.get());
  drain();
}

void OutputParser::drain() {
  auto event = sized<mm2_event>();
  mm2_error error = new_error();
  for (;;) {
    const mm2_status status = mm2_parser_next(parser_.get(), &event, &error);
    if (status == MM2_NO_MORE) return;
    if (status != MM2_OK) throw Failure(status, "parsing the output", error);
    on_event_(event, {event.data, event.length});
  }
}

}  // namespace cli
