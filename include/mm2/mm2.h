/* mm2/mm2.h: the whole C ABI of mm2. Conventions: mm2/abi.h. C++: mm2/mm2.hpp. */
#ifndef MM2_MM2_H
#define MM2_MM2_H

#include "chat.h"
#include "engine.h"
#include "parser.h"
#include "sampler.h"
#include "seq.h"
#include "tools.h"

#endif
