// A loaded model and an engine around it, for tests.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"

#include <catch2/catch.hpp>

namespace support {

inline std::shared_ptr<const mm2::Model> load(const std::string& path,
                                              mm2::Isa isa = mm2::Isa::automatic) {
  auto model = mm2::Model::load(path, {.isa = isa, .n_threads = 2}, mm2::Host{});
  INFO(model.status().message());
  REQUIRE(model.ok());
  return *model;
}

inline std::unique_ptr<mm2::Engine> engine(std::shared_ptr<const mm2::Model> model,
                                           const mm2::EngineOptions& options = {}) {
  auto made = mm2::Engine::create(std::move(model), options, mm2::Host{});
  INFO(made.status().message());
  REQUIRE(made.ok());
  return *std::move(made);
}

/// Logits of every position, the prompt cut into steps of `chunk` tokens (0 = one step).
inline std::vector<float> all_logits(mm2::Engine& engine, int32_t seq_id,
                                     const std::vector<int32_t>& ids, int32_t chunk = 0) {
  const auto n_vocab = static_cast<size_t>(engine.model().shape().n_vocab);
  const auto total = static_cast<int32_t>(ids.size());
  if (chunk == 0) chunk = total;
  std::vector<float> logits(ids.size() * n_vocab);
  const int32_t start = engine.seq_length(seq_id);
  for (int32_t at = 0; at < total; at += chunk) {
    const int32_t n = std::min(chunk, total - at);
    const mm2::SeqRows row{seq_id, start + at, n, n};
    const mm2::Status status = engine.step(
        {&row, 1}, std::span(ids).subspan(static_cast<size_t>(at), static_cast<size_t>(n)),
        std::span(logits).subspan(static_cast<size_t>(at) * n_vocab), {});
    INFO(status.message());
    REQUIRE(status.ok());
  }
  return logits;
}

}  // namespace support
