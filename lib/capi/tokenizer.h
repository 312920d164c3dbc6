// The tokenizer handle, seen by chat templates.
#pragma once

#include <memory>

#include "mm2/tokenizer.h"
#include "text/tokenizer.h"

struct mm2_tokenizer {
  std::shared_ptr<const mm2::Tokenizer> tokenizer;
};
