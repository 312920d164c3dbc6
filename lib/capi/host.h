// The host's structs as the Host of lib/base.
#pragma once

#include "base/host.h"
#include "mm2/host.h"

namespace mm2::capi {

/// A copy of everything that host names; null gives the defaults. invalid_argument for a struct
/// without one of the functions that it needs.
Result<Host> read_host(const mm2_host* host);

}  // namespace mm2::capi
