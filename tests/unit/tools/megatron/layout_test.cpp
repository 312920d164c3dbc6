#include "tools/megatron/layout.h"

#include <catch2/catch.hpp>
#include <functional>
#include <map>
#include <set>

#include "support/golden.h"
#include "tools/megatron/byte_runs.h"
#include "tools/stream/hash.h"

using namespace mm2;

namespace {

const std::string kFolder = std::string(MM2_TEST_DATA) + "/tools/megatron/";

MegatronModel model_of(const Json& dims) {
  const auto at = [&](const char* name) { return dims.at(name).get<int32_t>(); };
  MegatronModel model;
  model.n_layers = at("layers");
  model.hidden = at("hidden");
  model.n_vocab = at("vocab");
  model.n_experts = at("experts");
  model.n_heads = at("q_heads");
  model.n_kv_heads = at("kv_heads");
  model.head_dim = at("head_dim");
  model.intermediate = at("inner");
  return model;
}

// A small model with every kind of tensor; scales of FP8 where they can be moved.
MegatronModel small_model(bool fp8) {
  MegatronModel model{4, 130, 8, 4, fp8 ? 128 : 4, 6, fp8 ? 512 : 12, 300};
  model.fp8_attention = model.fp8_experts = fp8;
  return model;
}

// Tensors by name, elements told apart by two numbers in their bytes.
using Bytes = std::map<std::string, std::string>;
constexpr int64_t kElement = 8;

Bytes numbered(const std::vector<HfTensor>& tensors) {
  Bytes bytes;
  uint32_t which = 0;
  for (const HfTensor& tensor : tensors) {
    std::string& content = bytes[tensor.name];
    for (uint32_t i = 0; i < tensor.n_rows * tensor.n_cols; ++i) {
      const uint32_t element[2] = {which, i + 1};
      content.append(reinterpret_cast<const char*>(element), sizeof element);
    }
    ++which;
  }
  return bytes;
}

std::string carried_out(const MegatronTensor& tensor, int64_t element,
                        const std::function<std::string(const std::string&)>& hf) {
  std::string bytes(static_cast<size_t>(tensor.n_rows * tensor.n_cols * element), '\0');
  for (const BlockMove& move : tensor.moves) {
    const std::string source = hf(move.hf);
    const Rectangle rectangle{move.n_rows,  move.n_cols, move.hf_row, move.hf_col,
                              move.hf_cols, move.row,    move.col,    tensor.n_cols};
    for_each_run(rectangle, element, [&](uint64_t from, uint64_t to, uint64_t n) {
      REQUIRE(from + n <= source.size());
      REQUIRE(to + n <= bytes.size());
      bytes.replace(to, n, source, from, n);
    });
  }
  return bytes;
}

std::string sha256(const std::string& bytes) {
  Sha256 hash;
  hash.update(bytes.data(), bytes.size());
  return hash.finish();
}

std::vector<std::vector<MegatronTensor>> everything(const MegatronModel& model,
                                                    const ParallelShape& parallel,
                                                    MegatronNames names) {
  std::vector<std::vector<MegatronTensor>> ranks;
  for (const MegatronRank& rank : all_ranks(parallel)) {
    ranks.push_back(rank_tensors(model, parallel, names, rank));
  }
  return ranks;
}

// To Megatron and back on numbered elements.
void check_round_trip(const MegatronModel& model, const ParallelShape& parallel,
                      MegatronNames names) {
  REQUIRE(check_layout(model, parallel).ok());
  const Bytes original = numbered(hf_tensors(model));
  const auto ranks = everything(model, parallel, names);
  const auto hf = [&](const std::string& name) { return original.at(name); };
  std::vector<std::vector<std::string>> there;
  for (const auto& rank : ranks) {
    auto& contents = there.emplace_back();
    std::set<std::pair<int32_t, std::string>> seen;
    for (const MegatronTensor& tensor : rank) {
      CHECK(seen.insert({tensor.chunk, tensor.name}).second);
      contents.push_back(carried_out(tensor, kElement, hf));
    }
  }
  const auto back = assemble(model, ranks);
  INFO(back.status().message());
  REQUIRE(back.ok());
  REQUIRE(back->size() == original.size());
  for (const HfTensor& tensor : *back) {
    INFO(tensor.name);
    std::string bytes(static_cast<size_t>(tensor.n_rows * tensor.n_cols * kElement), '\0');
    for (const HfTensor::From& from : tensor.from) {
      const auto rank = static_cast<size_t>(from.rank), t = static_cast<size_t>(from.tensor);
      const Rectangle rectangle{from.n_rows,           from.n_cols, from.row,    from.col,
                                ranks[rank][t].n_cols, from.hf_row, from.hf_col, tensor.n_cols};
      for_each_run(rectangle, kElement, [&](uint64_t at, uint64_t to, uint64_t n) {
        REQUIRE(at + n <= there[rank][t].size());
        REQUIRE(to + n <= bytes.size());
        bytes.replace(to, n, there[rank][t], at, n);
      });
    }
    CHECK(bytes == original.at(tensor.name));
  }
}

const MegatronTensor& named(const std::vector<MegatronTensor>& tensors, const std::string& name) {
  for (const MegatronTensor& tensor : tensors) {
    if (tensor.name == name) return tensor;
  }
  FAIL("there is no " << name);
  return tensors.front();
}

constexpr const char* kQkv = "decoder.layers.0.self_attention.linear_qkv.weight";

// The row of q, then k, then v, that each row of a rank's linear_qkv holds.
std::vector<int32_t> qkv_rows(const MegatronModel& model, const ParallelShape& parallel,
                              int32_t tp_rank) {
  const auto tensors = rank_tensors(model, parallel, MegatronNames::slime, {0, tp_rank, 0, 0});
  const MegatronTensor& tensor = named(tensors, kQkv);
  std::vector<int32_t> rows(static_cast<size_t>(tensor.n_rows), -1);
  for (const BlockMove& move : tensor.moves) {
    const int64_t base = move.hf.find("q_proj") != std::string::npos ? 0
                         : move.hf.find("k_proj") != std::string::npos
                             ? model.q_width()
                             : model.q_width() + model.kv_width();
    for (int64_t i = 0; i < move.n_rows; ++i) {
      rows[static_cast<size_t>(move.row + i)] = static_cast<int32_t>(base + move.hf_row + i);
    }
  }
  return rows;
}

}  // namespace

TEST_CASE("layout: names, shapes and bytes of every rank of the golden layouts agree") {
  const Json info = golden::read_json(kFolder + "megatron.json");
  const Json layouts = golden::read_json(kFolder + "layouts.json");
  const auto opened = Checkpoint::open(golden::kModels + "bf16", Host{});
  REQUIRE(opened.ok());
  const MegatronModel model = model_of(info.at("dims"));
  const auto hf = [&](const std::string& name) {
    const TensorInfo* tensor = (*opened)->find(name);
    REQUIRE(tensor != nullptr);
    std::string bytes(tensor->bytes, '\0');
    REQUIRE((*opened)->read(*tensor, 0, bytes.size(), bytes.data()).ok());
    return bytes;
  };
  int n_tensors = 0;
  for (const Json& layout : layouts) {
    const ParallelShape parallel{layout.at("tp").get<int32_t>(), layout.at("pp").get<int32_t>(),
                                 layout.at("ep").get<int32_t>(), layout.at("etp").get<int32_t>()};
    INFO("tp " << parallel.tp << " pp " << parallel.pp << " ep " << parallel.ep << " etp "
               << parallel.etp);
    REQUIRE(check_layout(model, parallel).ok());
    CHECK(padded_vocab(model.n_vocab, parallel) == layout.at("padded_vocab").get<int64_t>());
    CHECK(all_ranks(parallel).size() == layout.at("ranks").size());
    for (const Json& one : layout.at("ranks")) {
      const MegatronRank rank{one.at("pp_rank").get<int32_t>(), one.at("tp_rank").get<int32_t>(),
                              one.at("ep_rank").get<int32_t>(), one.at("etp_rank").get<int32_t>()};
      const auto tensors = rank_tensors(model, parallel, MegatronNames::slime, rank);
      CHECK(tensors.size() == one.at("tensors").size());
      for (const MegatronTensor& tensor : tensors) {
        INFO(tensor.name);
        REQUIRE(one.at("tensors").contains(tensor.name));
        const Json& expected = one.at("tensors").at(tensor.name);
        CHECK(tensor.global_name == expected.at("global").get<std::string>());
        std::vector<int64_t> shape = {tensor.n_rows};
        if (!tensor.is_vector) shape.push_back(tensor.n_cols);
        CHECK(Json(shape) == expected.at("shape"));
        const bool wide = expected.at("dtype") == "F32";
        const std::string bytes = carried_out(tensor, wide ? 4 : 2, hf);
        CHECK(sha256(bytes).substr(0, 32) == expected.at("sha256").get<std::string>());
        ++n_tensors;
      }
    }
  }
  CHECK(n_tensors == 859);
}

TEST_CASE("layout: QKV interleave agrees with the tool and with brute force, and comes back") {
  const Json info = golden::read_json(kFolder + "megatron.json");
  const golden::Tensors tensors(kFolder + "megatron.safetensors");
  int n = 0;
  for (const Json& one : info.at("qkv_row_order").at("cases")) {
    const auto groups = one.at("groups").get<int32_t>();
    const auto queries = one.at("q_heads_per_group").get<int32_t>();
    const auto d = one.at("head_dim").get<int32_t>();
    INFO("groups " << groups << " queries " << queries << " head_dim " << d);
    const MegatronModel model{1, 1, groups * queries, groups, d, 1, 1, 1};
    const std::vector<int32_t> rows = qkv_rows(model, {}, 0);
    std::vector<int32_t> brute;
    for (int32_t g = 0; g < groups; ++g) {
      for (int32_t i = 0; i < queries * d; ++i) brute.push_back(g * queries * d + i);
      for (int32_t kv = 0; kv < 2; ++kv) {
        for (int32_t i = 0; i < d; ++i) brute.push_back((groups * (queries + kv) + g) * d + i);
      }
    }
    CHECK(rows == brute);
    if (one.contains("source_row_of_each_output_row")) {
      CHECK(Json(rows) == one.at("source_row_of_each_output_row"));
    } else {
      CHECK(rows == tensors.read<int32_t>(join("qkv_rows/g", groups, "_r", queries, "_d", d)));
    }
    check_round_trip(model, {}, MegatronNames::slime);
    ++n;
  }
  CHECK(n == 7);
}

TEST_CASE("layout: QKV interleave on scale_inv moves FP8 codes and scale rows together") {
  const Json info = golden::read_json(kFolder + "megatron.json").at("fp8");
  const golden::Tensors golden(kFolder + "megatron.safetensors");
  const Json& attention = info.at("attention");
  MegatronModel model{1,
                      attention.at("hidden").get<int32_t>(),
                      attention.at("q_heads").get<int32_t>(),
                      attention.at("kv_heads").get<int32_t>(),
                      attention.at("head_dim").get<int32_t>(),
                      1,
                      128,
                      1};
  model.fp8_attention = true;
  REQUIRE(check_layout(model, {}).ok());
  const auto tensors = rank_tensors(model, {}, MegatronNames::slime, {});
  const auto hf = [&](const std::string& name) {
    const auto bytes = golden.read<char>("fp8/" + name.substr(name.rfind("self_attn.") + 10));
    return std::string(bytes.begin(), bytes.end());
  };
  CHECK(sha256(carried_out(named(tensors, kQkv), 1, hf)) ==
        attention.at("linear_qkv_codes_sha256").get<std::string>());
  const std::string scales = carried_out(named(tensors, std::string(kQkv) + "_scale_inv"), 4, hf);
  CHECK(sha256(scales) == attention.at("linear_qkv_scales_sha256").get<std::string>());

  const Json& expert = info.at("expert");
  MegatronModel moe{1, expert.at("hidden").get<int32_t>(), 1, 1, 128,
                    1, expert.at("inner").get<int32_t>(),  1};
  moe.fp8_experts = true;
  REQUIRE(check_layout(moe, {}).ok());
  const auto of_expert = rank_tensors(moe, {}, MegatronNames::slime, {});
  const auto hf_expert = [&](const std::string& name) {
    const auto bytes = golden.read<char>("fp8/expert." + name.substr(name.find("experts.0.") + 10));
    return std::string(bytes.begin(), bytes.end());
  };
  const std::string fc1 = "decoder.layers.0.mlp.experts.linear_fc1.weight0";
  CHECK(sha256(carried_out(named(of_expert, fc1), 1, hf_expert)) ==
        expert.at("linear_fc1_codes_sha256").get<std::string>());
  const auto expected = golden.read<char>("fp8/expert.linear_fc1.weight_scale_inv");
  CHECK(carried_out(named(of_expert, fc1 + "_scale_inv"), 4, hf_expert) ==
        std::string(expected.begin(), expected.end()));
}

TEST_CASE("layout: every layout round trips, both names, FP8 and plain") {
  const ParallelShape shapes[] = {
      {1, 1, 1, 1},          {2, 1, 1, 1},       {4, 1, 2, 1},          {4, 1, 3, 2}, {1, 1, 2, 4},
      {2, 4, 1, 1},          {2, 2, 6, 2, 2},    {1, 1, 1, 1, 4},       {8, 2, 1, 1}, {8, 1, 2, 2},
      {1, 3, 1, 1, 1, 1, 1}, {1, 3, 1, 1, 1, 2}, {2, 2, 1, 1, 1, -1, 3}};
  for (const ParallelShape& parallel : shapes) {
    INFO("tp " << parallel.tp << " pp " << parallel.pp << " ep " << parallel.ep << " etp "
               << parallel.etp << " vpp " << parallel.vpp);
    for (const MegatronNames names : {MegatronNames::slime, MegatronNames::bridge}) {
      check_round_trip(small_model(false), parallel, names);
    }
  }
  for (const ParallelShape& parallel : {ParallelShape{1, 1, 1, 1}, {4, 2, 3, 2}, {8, 1, 1, 4}}) {
    MegatronModel model = small_model(true);
    model.n_layers = 2;
    model.n_experts = 3;
    check_round_trip(model, parallel, MegatronNames::slime);
  }
}

TEST_CASE("layout: fc1 gate and up are split one by one for ETP, fc2 by columns") {
  const MegatronModel model = small_model(false);
  const ParallelShape parallel{1, 1, 1, 2};
  const auto second = rank_tensors(model, parallel, MegatronNames::slime, {0, 0, 0, 1});
  const MegatronTensor& fc1 = named(second, "decoder.layers.0.mlp.experts.linear_fc1.weight3");
  REQUIRE(fc1.moves.size() == 2);
  CHECK(fc1.n_rows == 12);
  CHECK(fc1.moves[0].hf == "model.layers.0.block_sparse_moe.experts.3.w1.weight");
  CHECK(fc1.moves[0].hf_row == 6);
  CHECK(fc1.moves[0].row == 0);
  CHECK(fc1.moves[1].hf == "model.layers.0.block_sparse_moe.experts.3.w3.weight");
  CHECK(fc1.moves[1].hf_row == 6);
  CHECK(fc1.moves[1].row == 6);
  const MegatronTensor& fc2 = named(second, "decoder.layers.0.mlp.experts.linear_fc2.weight3");
  CHECK(fc2.n_rows == 130);
  CHECK(fc2.n_cols == 6);
  CHECK(fc2.moves[0].hf_col == 6);
  CHECK(check_layout(model, {1, 1, 1, 5}).code() == Code::invalid_argument);
}

TEST_CASE("layout: TP16 gives every key head to two ranks, and queries of one group are split") {
  MegatronModel model{1, 64, 48, 8, 128, 1, 128, 1000};
  const ParallelShape parallel{16, 1, 1, 1};
  REQUIRE(check_layout(model, parallel).ok());
  for (int32_t rank = 0; rank < 16; ++rank) {
    INFO("rank " << rank);
    const std::vector<int32_t> rows = qkv_rows(model, parallel, rank);
    REQUIRE(rows.size() == 5 * 128);  // three query heads, a key head, a value head
    for (int32_t i = 0; i < 3 * 128; ++i) CHECK(rows[static_cast<size_t>(i)] == rank * 384 + i);
    for (int32_t i = 0; i < 128; ++i) {
      CHECK(rows[static_cast<size_t>(384 + i)] == 48 * 128 + rank / 2 * 128 + i);
      CHECK(rows[static_cast<size_t>(512 + i)] == 56 * 128 + rank / 2 * 128 + i);
    }
    const auto tensors = rank_tensors(model, parallel, MegatronNames::bridge, {0, rank, 0, 0});
    const MegatronTensor& k = named(tensors, "decoder.layers.0.self_attention.k_layernorm.weight");
    CHECK(k.n_rows == 128);
    CHECK(k.moves[0].hf_row == rank / 2 * 128);
  }
  check_round_trip(model, parallel, MegatronNames::bridge);
  check_round_trip(model, parallel, MegatronNames::slime);
  CHECK(check_layout(model, {12, 1, 1, 1}).code() == Code::invalid_argument);
  CHECK(check_layout(model, {32, 1, 1, 1}).code() == Code::invalid_argument);  // 48 / 32 queries
}

TEST_CASE("layout: the vocabulary is padded and trimmed as Megatron does") {
  const Json table = golden::read_json(kFolder + "megatron.json").at("vocab_padding").at("table");
  for (const Json& row : table) {
    ParallelShape parallel;
    parallel.tp = row.at("tp").get<int32_t>();
    CHECK(padded_vocab(row.at("vocab").get<int32_t>(), parallel) ==
          row.at("padded").get<int64_t>());
  }
  CHECK(table.size() == 25);
  // A rank of nothing but padding, and one where the vocabulary ends.
  const MegatronModel model{1, 4, 4, 4, 2, 1, 2, 130};
  const ParallelShape parallel{4, 1, 1, 1};
  const auto part = [&](int32_t rank) {
    return rank_tensors(model, parallel, MegatronNames::slime, {0, rank, 0, 0}).front();
  };
  CHECK(part(0).moves.at(0).n_rows == 128);
  CHECK(part(1).moves.at(0).n_rows == 2);
  CHECK(part(1).n_rows == 128);
  CHECK(part(2).moves.empty());
  check_round_trip(model, parallel, MegatronNames::slime);
}

TEST_CASE("layout: what other converters split unevenly without a word is an error") {
  const auto refused = [](const MegatronModel& model, const ParallelShape& parallel,
                          const std::string& word) {
    const Status status = check_layout(model, parallel);
    INFO(status.message());
    CHECK_FALSE(status.ok());
    CHECK(status.message().find(word) != std::string::npos);
  };
  // linear_qkv of 16 rows over tp 3; linear_fc1 of 2 * 5 rows over 4.
  refused({1, 4, 4, 2, 2, 1, 4, 10}, {3, 1, 1, 1}, "n_kv_heads");
  refused({1, 4, 4, 2, 2, 1, 5, 10}, {1, 1, 1, 4}, "intermediate of 5");
  // linear_proj of 4 x 4 over tp 2: the axis is named, not guessed from shapes.
  const MegatronModel square{1, 4, 2, 2, 2, 1, 4, 10};
  const auto tensors = rank_tensors(square, {2, 1, 1, 1}, MegatronNames::slime, {0, 1, 0, 0});
  const MegatronTensor& proj = named(tensors, "decoder.layers.0.self_attention.linear_proj.weight");
  CHECK(proj.n_rows == 4);
  CHECK(proj.n_cols == 2);
  CHECK(proj.moves[0].hf_col == 2);

  const MegatronModel m2{62, 3072, 48, 8, 128, 180, 1536, 200064};
  refused(m2, {1, 1, 8, 1}, "n_experts of 180");
  refused(m2, {1, 4, 1, 1}, "n_layers of 62");
  refused(m2, {1, 1, 1, 1, 4}, "n_layers of 62");
  CHECK(check_layout(m2, {1, 4, 1, 1, 1, 16, 16}).ok());  // 16 15 15 16
  refused(m2, {1, 4, 1, 1, 1, 16, 15}, "31");
  CHECK(check_layout(m2, {1, 4, 4, 1, 1, 16, 14}).ok());
  refused(m2, {1, 2, 4, 1, 1, 16, 14}, "62 layers on 2 stages");
  refused(m2, {0, 1, 1, 1}, "at least 1");
  refused(m2, {1, 1, 1, -3}, "at least 1");
  refused(m2, {65536, 65536, 1, 1}, "at most");
  refused({1, 4, 3, 2, 2, 1, 4, 10}, {}, "n_heads of 3");
  refused({1, 0, 4, 2, 2, 1, 4, 10}, {}, "hidden is 0");
}

TEST_CASE("layout: FP8 codes are only moved where no block straddles heads or ranks") {
  MegatronModel model{1, 256, 4, 2, 32, 2, 256, 260};
  model.fp8_attention = true;
  CHECK(check_layout(model, {}).message().find("head_dim 32") != std::string::npos);
  model.head_dim = 128;
  CHECK(check_layout(model, {}).ok());
  model.fp8_experts = true;
  CHECK(check_layout(model, {1, 1, 1, 2}).ok());
  CHECK(check_layout(model, {1, 1, 1, 4}).message().find("straddle ranks") != std::string::npos);
  model.intermediate = 1536;
  CHECK(check_layout(model, {1, 1, 1, 8}).message().find("straddle ranks") != std::string::npos);
}

TEST_CASE("layout: folders of ranks are called as Megatron calls them") {
  CHECK(rank_folder({0, 1, 0, 0}, {2, 1, 1, 1}) == "mp_rank_01");
  CHECK(rank_folder({3, 1, 0, 0}, {2, 4, 1, 1}) == "mp_rank_01_003");
  CHECK(rank_folder({3, 1, 12, 0}, {2, 4, 16, 1}) == "mp_rank_01_003_012");
  CHECK(rank_folder({0, 0, 2, 0}, {1, 1, 4, 1}) == "mp_rank_00_002");
}

TEST_CASE("layout: layers of interleaved stages") {
  const MegatronModel model{8, 4, 4, 4, 2, 1, 2, 10};
  const ParallelShape parallel{1, 2, 1, 1, 2};
  const auto range = [&](int32_t pp, int32_t chunk) {
    return stage_layers(model, parallel, pp, chunk).first;
  };
  CHECK(range(0, 0) == 0);
  CHECK(range(1, 0) == 2);
  CHECK(range(0, 1) == 4);
  CHECK(range(1, 1) == 6);
}
