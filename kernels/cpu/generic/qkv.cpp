#include "kernels/cpu/common/qkv.h"

#include "kernels/cpu/generic/generic.h"
#include "kernels/cpu/generic/product.h"

namespace mm2::kernels::generic {
namespace {

struct Isa {
  static constexpr auto prepare = common::prepare_floats;
  static constexpr auto product = generic::product;
};

}  // namespace

void qkv(const Executor* run, const QkvArgs<float>* a) {
  common::qkv<Isa>(run, a);
}

}  // namespace mm2::kernels::generic
