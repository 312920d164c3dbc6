// mm2._core: the C ABI as Python objects. What is convenient is in Python, beside this module.
#include "core.h"

PYBIND11_MODULE(_core, m) {
  using namespace mm2::python;
  if (mm2_abi_version() != MM2_ABI_VERSION) {
    throw py::import_error("this module needs libmm2 with ABI " + std::to_string(MM2_ABI_VERSION) +
                           ", the one found has ABI " + std::to_string(mm2_abi_version()));
  }
  bind_errors(m);
  bind_logits(m);
  bind_model(m);
  bind_engine(m);
  bind_sampler(m);
  bind_text(m);
  bind_parser(m);
  bind_tools(m);
}
