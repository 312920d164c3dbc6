// The whole server as one call, for `mm2 serve` and openai_server.
#pragma once

#include "options.h"

namespace server {

/// Loads the model, serves until SIGTERM or SIGINT, drains, returns. Throws mm2::Error or
/// std::runtime_error when it cannot begin.
void serve(ServeOptions options);

}  // namespace server
