#include "kernels/cpu/common/router.h"

#include "kernels/cpu/generic/generic.h"
#include "kernels/cpu/generic/product.h"

namespace mm2::kernels::generic {
namespace {

struct Isa {
  static constexpr auto prepare = common::prepare_floats;
  static constexpr auto product = generic::product;
};

}  // namespace

void router(const Executor* run, const RouterArgs<float>* a) {
  common::router<Isa>(run, a);
}

}  // namespace mm2::kernels::generic
