// Every matrix of every quantised checkpoint of tests/data/models, as numbers: bit for bit what
// other implementations make of it.
#include "quant/dequantize.h"

#include "format/config.h"
#include "format/names.h"
#include "quant/check.h"
#include "support/golden.h"
#include "tools/stream/hash.h"

using namespace mm2;

namespace {

struct Opened {
  ModelConfig config;
  QuantConfig quant;
  std::shared_ptr<Checkpoint> checkpoint;
  std::vector<WeightPlace> places;
  std::vector<WeightDescription> descriptions;
};

Opened open(const std::string& folder) {
  const std::string path = golden::kModels + folder;
  auto config = load_config(path, Host{});
  REQUIRE(config.ok());
  auto quant = load_quant_config(config->quantization, path, Host{});
  INFO(quant.status().message());
  REQUIRE(quant.ok());
  CHECK(quant->remarks.empty());
  auto checkpoint = Checkpoint::open(path, Host{});
  REQUIRE(checkpoint.ok());
  auto places = locate_all(*config, **checkpoint);
  auto check = check_weights(places, **checkpoint, *quant);
  INFO(check.status().message());
  REQUIRE(check.ok());
  CHECK(check->remarks.empty());
  return {*config, *quant, *checkpoint, places, check->descriptions};
}

std::vector<float> rows_of(const Opened& o, size_t i, int64_t first_row, int64_t n_rows) {
  std::vector<float> rows(static_cast<size_t>(n_rows * o.places[i].n_cols()));
  const Status status = dequantize_rows(o.places[i], o.descriptions[i], *o.checkpoint, first_row,
                                        n_rows, rows.data());
  INFO(o.places[i].name << ": " << status.message());
  REQUIRE(status.ok());
  return rows;
}

// The expectations hold no -0.
void clear_signs_of_zero(std::vector<float>& values) {
  for (float& value : values) value += 0.0f;
}

size_t index_of(const Opened& o, const std::string& name) {
  size_t i = 0;
  while (i < o.places.size() && o.places[i].name != name) ++i;
  INFO(name);
  REQUIRE(i < o.places.size());
  return i;
}

}  // namespace

TEST_CASE("dequantize: every quantised matrix of every checkpoint has the expected digest") {
  size_t n_all = 0;
  for (const std::string& folder : golden::kQuantised) {
    const Opened o = open(folder);
    const Json expected = golden::read_json(golden::kModels + folder + "/expected/dequant.json");
    size_t n_quantised = 0;
    for (const WeightDescription& d : o.descriptions) n_quantised += d.is_plain() ? 0 : 1;
    CHECK(n_quantised == expected["sha256"].size());
    for (const auto& [name, digest] : expected["sha256"].items()) {
      const size_t i = index_of(o, name);
      INFO(folder << " " << name << ", " << o.descriptions[i].to_string());
      CHECK_FALSE(o.descriptions[i].is_plain());
      auto rows = rows_of(o, i, 0, o.places[i].n_rows());
      clear_signs_of_zero(rows);
      Sha256 sha;
      sha.update(rows.data(), rows.size() * sizeof(float));
      CHECK(sha.finish() == digest.get<std::string>());
      ++n_all;
    }
  }
  CHECK(n_all == 524);
}

TEST_CASE("dequantize: the stored rows are equal bit by bit, wherever the reading starts") {
  for (const std::string& folder : golden::kQuantised) {
    const Opened o = open(folder);
    const golden::Tensors stored(golden::kModels + folder + "/expected/dequant.safetensors");
    const Json expected = golden::read_json(golden::kModels + folder + "/expected/dequant.json");
    for (const auto& [name, what] : expected["stored"].items()) {
      INFO(folder << " " << name);
      const size_t i = index_of(o, name);
      const auto want = stored.read(name);
      const auto n_rows = what["rows_stored"].get<int64_t>();
      auto rows = rows_of(o, i, 0, n_rows);
      clear_signs_of_zero(rows);
      REQUIRE(rows.size() == want.size());
      CHECK(std::memcmp(rows.data(), want.data(), want.size() * sizeof(float)) == 0);
      // One row in the middle, and some up to the end.
      const auto n_cols = static_cast<size_t>(o.places[i].n_cols());
      for (const int64_t first : {int64_t{5}, n_rows - 3}) {
        auto part = rows_of(o, i, first, first == 5 ? 1 : 3);
        clear_signs_of_zero(part);
        CHECK(std::memcmp(part.data(), want.data() + static_cast<size_t>(first) * n_cols,
                          part.size() * sizeof(float)) == 0);
      }
    }
  }
}

TEST_CASE("dequantize: plain weights are widened, slices of fused ones too") {
  const Opened o = open("bf16");
  const size_t i = index_of(o, "model.layers.1.self_attn.o_proj.weight");
  const auto rows = rows_of(o, i, 7, 2);
  std::vector<uint16_t> stored(2 * 384);
  const TensorInfo& tensor = o.descriptions[i].codes();
  REQUIRE(o.checkpoint->read(tensor, 7 * 384 * 2, stored.size() * 2, stored.data()).ok());
  for (size_t k = 0; k < stored.size(); ++k) {
    const uint32_t bits = uint32_t{stored[k]} << 16;
    CHECK(std::memcmp(&bits, &rows[k], 4) == 0);
  }
  const Opened fused = open("alias_fused"), split = open("alias_gate_up");
  for (const char* last : {"w1", "w2", "w3"}) {
    const std::string name = std::string("model.layers.2.block_sparse_moe.experts.3.") + last;
    const size_t a = index_of(fused, name + ".weight"), b = index_of(split, name + ".weight");
    const int64_t n = fused.places[a].n_rows();
    CHECK(rows_of(fused, a, 0, n) == rows_of(split, b, 0, n));
  }
}
