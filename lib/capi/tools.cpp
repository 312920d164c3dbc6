#include "mm2/tools.h"

#include "base/json.h"
#include "capi/guard.h"
#include "capi/handles.h"
#include "capi/host.h"
#include "tools/tools.h"

using namespace mm2::capi;  // NOLINT: this file is the border itself
using mm2::Status;

mm2_status mm2_tool_run(const char* verb, const char* options_json, size_t length,
                        const mm2_host* host, mm2_buffer* report_json, mm2_error* err) {
  return guarded(err, [&]() -> Status {
    MM2_RETURN_IF_ERROR(need(verb, "verb"));
    MM2_RETURN_IF_ERROR(need(report_json, "report_json"));
    MM2_ASSIGN_OR_RETURN(const auto text, need_text(options_json, length, "options_json"));
    MM2_ASSIGN_OR_RETURN(const mm2::Host services, read_host(host));
    mm2::Json options;
    if (!text.empty()) {
      MM2_ASSIGN_OR_RETURN(options, mm2::parse_json(text, "options_json"));
    }
    mm2::Json report;
    Status status = mm2::run_tool(verb, options, services, &report);
    if (status.ok() || status.code() == mm2::Code::check_failed) report_json->bytes = report.dump();
    return status;
  });
}
