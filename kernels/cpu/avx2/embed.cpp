#include "kernels/cpu/common/embed.h"

#include "kernels/cpu/avx2/avx2.h"

namespace mm2::kernels::avx2 {

void embed(const Executor* run, const EmbedArgs<float>* a) {
  common::embed(run, a);
}

}  // namespace mm2::kernels::avx2
