// The checkpoint tools' one door, and what the library says of itself.
#include <optional>

#include "host.h"
#include "interrupt.h"

namespace mm2::python {
namespace {

using namespace py::literals;

/// (status, report). A check that failed has a report too, so it is no exception here.
py::tuple run_tool(const std::string& verb, const py::object& options, py::object callable) {
  Progress progress(std::move(callable));
  const Host host(&progress);
  const std::string_view json = bytes_of(options);
  const mm2::detail::Buffer report;
  auto error = mm2::make<mm2_error>();
  mm2_status status = MM2_OK;
  {
    const InterruptScope interrupts(nullptr);
    const py::gil_scoped_release released;
    status = mm2_tool_run(verb.c_str(), json.data(), json.size(), host.get(), report.get(), &error);
  }
  progress.rethrow();
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  if (status != MM2_OK && status != MM2_E_CHECK_FAILED) throw mm2::Error(error);
  return py::make_tuple(status, to_str(report.text()), to_str(error.message));
}

}  // namespace

void bind_tools(py::module_& m) {
  m.def("_run_tool", &run_tool, "verb"_a, "options"_a, "progress"_a = py::none());
  m.def("_build_info", [] { return to_str(mm2::build_info()); });
  m.def("_system_info", [] { return to_str(mm2::system_info()); });
  m.def("_version", [] { return std::string(mm2_version_string()); });
  m.def("_abi_version", [] { return mm2_abi_version(); });
  m.def("_status_name", [](int32_t status) { return std::string(mm2_status_name(status)); });
}

}  // namespace mm2::python
