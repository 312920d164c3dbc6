#include "kernels/cpu/common/linear.h"

#include "kernels/cpu/generic/generic.h"
#include "kernels/cpu/generic/product.h"

namespace mm2::kernels::generic {
namespace {

struct Isa {
  static constexpr auto prepare = common::prepare_floats;
  static constexpr auto product = generic::product;
};

}  // namespace

void linear(const Executor* run, const LinearArgs<float>* a) {
  common::linear<Isa>(run, a);
}

}  // namespace mm2::kernels::generic
