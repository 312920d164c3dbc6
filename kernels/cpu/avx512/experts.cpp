#include "kernels/cpu/common/experts.h"

#include "kernels/cpu/avx512/avx512.h"
#include "kernels/cpu/avx512/product.h"

namespace mm2::kernels::avx512 {
namespace {

struct Isa {
  static constexpr auto prepare = avx512::prepare;
  static constexpr auto product = avx512::product;
};

}  // namespace

void experts(const Executor* run, const ExpertsArgs<float>* a) {
  common::experts<Isa>(run, a);
}

}  // namespace mm2::kernels::avx512
