#include "tools/stream/checkpoint_view.h"

#include <algorithm>
#include <catch2/catch.hpp>

#include "format/names.h"
#include "tensor/convert.h"

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

TEST_CASE("view: item 4: a weight and its scale in different shards are one weight") {
  const auto sharded = open("fp8");
  int n_apart = 0;
  for (const ViewWeight& weight : sharded->weights()) {
    const TensorInfo* const scale = weight.description.part(PartKind::scale);
    if (scale == nullptr) continue;
    n_apart += scale->shard != weight.description.codes().shard ? 1 : 0;
    // Each number is its code times the scale of its block, wherever that lies.
    std::vector<float> rows(static_cast<size_t>(weight.place.n_cols()));
    REQUIRE(sharded->rows(weight, 0, 1, rows.data()).ok());
    std::vector<uint8_t> codes(rows.size());
    REQUIRE(sharded->source().read(weight.description.codes(), 0, codes.size(), codes.data()).ok());
    std::vector<float> scales((rows.size() + 127) / 128);
    REQUIRE(sharded->source().read(*scale, 0, scales.size() * 4, scales.data()).ok());
    int n_wrong = 0;
    for (size_t c = 0; c < rows.size(); ++c) {
      n_wrong += rows[c] != e4m3_to_f32(codes[c]) * scales[c / 128];
    }
    INFO(weight.place.name);
    CHECK(n_wrong == 0);
  }
  CHECK(n_apart > 0);
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
