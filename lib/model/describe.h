// What Model::describe reports and is known only while loading.
#pragma once

#include "base/json.h"
#include "model/weight_plan.h"

namespace mm2 {

/// {"w1": {"gptq 4 bit group 128": 248}, "router": {"F32": 62}, ...}: how many weights of each role are
/// stored as what.
Json count_schemes(const DescribedWeights& described);

}  // namespace mm2
