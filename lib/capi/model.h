// The model handle, seen by those that build on a model.
#pragma once

#include <memory>

#include "mm2/model.h"
#include "model/model.h"

struct mm2_model {
  std::shared_ptr<const mm2::Model> model;
};

namespace mm2::capi {

/// The MM2_ISA_* of a backend.
int32_t isa_of(const kernels::Backend& backend);

}  // namespace mm2::capi
