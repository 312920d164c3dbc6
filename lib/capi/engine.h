// The engine handle, seen by those that work on sequences.
#pragma once

#include <memory>

#include "engine/engine.h"
#include "mm2/engine.h"

struct mm2_engine {
  std::unique_ptr<mm2::Engine> engine;
};
