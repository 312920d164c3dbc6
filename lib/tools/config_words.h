// What config.json and its companions say about weights that were written: in the words of the tool
// whose layout it is, as the loaders of that layout want to read them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "tools/quantize/pack.h"
#include "tools/stream/plan.h"

namespace mm2 {

struct WrittenWeights {
  PackSpec spec;  // of the quantised matrices, sizes aside
  // modules of matrices that stay plain, "model.layers.0.self_attn.q_proj"; router, embedding and
  // lm_head are known to be plain and need not be here
  std::vector<std::string> plain;
  int32_t n_layers = 0;
  Json kv_cache_scheme;  // of the source; null: none
};

/// quantization_config. Modules that stay plain are named by a pattern where all of attention does, one
/// by one otherwise.
Json quantization_words(const WrittenWeights& written);

/// The files that repeat it: quantize_config.json of GPTQ, quantization_config.json of AutoRound and
/// AWQ, hf_quant_config.json of ModelOpt; none for the others.
std::vector<SideFile> quantization_files(const WrittenWeights& written, const Json& words);

/// config.json with another quantization_config (null: without one) in its place. `dtype`, where not
/// empty, becomes torch_dtype and dtype, as far as they are there (torch_dtype where neither is).
Json with_quantization(Json config, const Json& words, std::string_view dtype);

}  // namespace mm2
