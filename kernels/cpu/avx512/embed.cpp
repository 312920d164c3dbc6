#include "kernels/cpu/common/embed.h"

#include "kernels/cpu/avx512/avx512.h"

namespace mm2::kernels::avx512 {

void embed(const Executor* run, const EmbedArgs<float>* a) {
  common::embed(run, a);
}

}  // namespace mm2::kernels::avx512
