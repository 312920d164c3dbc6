#include "kernels/cpu/common/qkv.h"

#include "kernels/cpu/avx512/avx512.h"
#include "kernels/cpu/avx512/product.h"

namespace mm2::kernels::avx512 {
namespace {

struct Isa {
  static constexpr auto prepare = avx512::prepare;
  static constexpr auto product = avx512::product;
};

}  // namespace

void qkv(const Executor* run, const QkvArgs<float>* a) {
  common::qkv<Isa>(run, a);
}

}  // namespace mm2::kernels::avx512
