#include "tools/stream/checkpoint_view.h"

#include <algorithm>
#include <catch2/catch.hpp>

#include "format/names.h"

using namespace mm2;

namespace {

const std::string kModels = std::string(MM2_TEST_DATA) + "/models/";

std::shared_ptr<CheckpointView> open(const std::string& name) {
  auto view = CheckpointView::open(kModels + name, {});
  INFO(view.status().message());
  REQUIRE(view.ok());
  return *view;
}

}  // namespace

TEST_CASE("view: every tensor of a checkpoint is part of a weight or listed apart") {
  for (const char* name : {"bf16_single", "fp8", "gptq_desc_act", "nvfp4_modelopt"}) {
    const auto view = open(name);
    size_t n = view->others().size();
    for (const ViewWeight& weight : view->weights()) {
      n += static_cast<size_t>(
          std::count_if(weight.description.parts.begin(), weight.description.parts.end(),
                        [](const TensorInfo* part) { return part != nullptr; }));
    }
    CHECK(n == view->source().tensors().size());
  }
}

TEST_CASE("view: a weight is found by its official name and read as numbers") {
  const auto view = open("fp8");
  const ViewWeight* weight = view->find("model.layers.0.self_attn.q_proj.weight");
  REQUIRE(weight != nullptr);
  CHECK_FALSE(weight->description.is_plain());
  std::vector<float> row(static_cast<size_t>(weight->place.n_cols()));
  REQUIRE(view->rows(*weight, 1, 1, row.data()).ok());
  CHECK(std::any_of(row.begin(), row.end(), [](float x) { return x != 0; }));
  CHECK(view->find("model.layers.99.self_attn.q_proj.weight") == nullptr);
}

TEST_CASE("view: tokenizer and templates are taken along, descriptions of the weights are not") {
  const auto names = open("fp8")->files_to_take();
  CHECK(std::find(names.begin(), names.end(), "config.json") == names.end());
  CHECK(std::is_sorted(names.begin(), names.end()));
  for (const std::string& name : names) CHECK_FALSE(name.ends_with(".safetensors"));
}
