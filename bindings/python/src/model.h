#pragma once

#include <memory>

#include "host.h"

namespace mm2::python {

struct Model {
  Model(mm2::Model made, std::unique_ptr<Progress> heard)
      : progress(std::move(heard)), handle(std::move(made)) {}
  std::unique_ptr<Progress> progress;  // outlives the handle, which knows its address
  mm2::Model handle;
};

py::dict dict_of(const mm2_memory& memory);

}  // namespace mm2::python
