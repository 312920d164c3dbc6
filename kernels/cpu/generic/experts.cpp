#include "kernels/cpu/common/experts.h"

#include "kernels/cpu/generic/generic.h"
#include "kernels/cpu/generic/product.h"

namespace mm2::kernels::generic {
namespace {

struct Isa {
  static constexpr auto prepare = common::prepare_floats;
  static constexpr auto product = generic::product;
};

}  // namespace

void experts(const Executor* run, const ExpertsArgs<float>* a) {
  common::experts<Isa>(run, a);
}

}  // namespace mm2::kernels::generic
