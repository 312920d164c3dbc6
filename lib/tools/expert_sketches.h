// What the weights of experts say of a match that was made by routers.
#pragma once

#include <cstdint>
#include <vector>

#include "base/executor.h"
#include "base/status.h"
#include "tools/routers.h"

namespace mm2 {

/// Compares each pair by sketches of the experts' w2: its first 128 rows, dequantised, projected onto 8
/// fixed random vectors of signs. The cosine of two sketches is that of the rows, give or take a 32nd:
/// 1 for copies, above 0.9 for relatives and other formats, about 0 for experts that have nothing in
/// common. Fills `matched.by_weights`. The verdict becomes Code::check_failed where a pair's likeness is
/// below 0.2, or another expert of the original is more alike by more than 0.2 (six deviations of the
/// sketch). Errors of reading are returned; `matched` is then as it was.
Status confirm_by_weights(const Routers& original, const Routers& reference, Executor& executor,
                          MatchedModel& matched);

}  // namespace mm2
