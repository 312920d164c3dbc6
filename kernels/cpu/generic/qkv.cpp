#include "kernels/cpu/common/qkv.h"

#include "kernels/cpu/generic/generic.h"
#include "kernels/cpu/generic/product.h"

namespace mm2::kernels::generic {
namespace {

struct Isa : common::FloatRows {
  static constexpr auto product = generic::product;
};

}  // namespace

void qkv(const Executor* run, const QkvArgs<float>* a) {
  common::qkv<Isa>(run, a);
}

}  // namespace mm2::kernels::generic
