#include "kernels/cpu/common/embed.h"

#include "kernels/cpu/generic/generic.h"

namespace mm2::kernels::generic {

void embed(const Executor* run, const EmbedArgs<float>* a) {
  common::embed(run, a);
}

}  // namespace mm2::kernels::generic
