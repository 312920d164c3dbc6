// Where a model lies: a folder, or a repo id in the local hub cache. Nothing is ever downloaded.
#pragma once

#include <string>

namespace cli {

/// `model` itself when it exists on disk; otherwise, for an id such as "owner/name", its snapshot in
/// $HF_HUB_CACHE, $HF_HOME/hub or ~/.cache/huggingface/hub. Throws Failure naming what was tried.
std::string find_model(const std::string& model);

}  // namespace cli
