#include "kernels/cpu/common/qkv.h"

#include "kernels/cpu/avx2/avx2.h"
#include "kernels/cpu/avx2/product.h"

namespace mm2::kernels::avx2 {
namespace {

struct Isa {
  static constexpr auto prepare = avx2::prepare;
  static constexpr auto product = avx2::product;
};

}  // namespace

void qkv(const Executor* run, const QkvArgs<float>* a) {
  common::qkv<Isa>(run, a);
}

}  // namespace mm2::kernels::avx2
