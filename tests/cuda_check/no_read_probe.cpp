// This program was built without nvcc.
#include "cuda_check/bench.h"

namespace check {

double read_ceiling(int32_t) {
  return 0;
}

}  // namespace check
