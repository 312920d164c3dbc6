// Models and engines through the C ABI, for tests.
#pragma once

#include <memory>
#include <string>

#include <catch2/catch.hpp>

#include "mm2/mm2.h"

namespace models {

inline const std::string kSmall = std::string(MM2_TEST_DATA) + "/models/bf16_single";

struct Destroy {
  void operator()(mm2_model* model) const { mm2_model_destroy(model); }
  void operator()(mm2_engine* engine) const { mm2_engine_destroy(engine); }
  void operator()(mm2_buffer* buffer) const { mm2_buffer_destroy(buffer); }
  void operator()(mm2_sampler* sampler) const { mm2_sampler_destroy(sampler); }
};
using Model = std::unique_ptr<mm2_model, Destroy>;
using Engine = std::unique_ptr<mm2_engine, Destroy>;
using Buffer = std::unique_ptr<mm2_buffer, Destroy>;
using Sampler = std::unique_ptr<mm2_sampler, Destroy>;

inline mm2_error no_error() {
  mm2_error err;
  mm2_error_init(&err, sizeof err);
  return err;
}

inline Model load(const mm2_host* host = nullptr, const std::string& path = kSmall,
                  bool metadata_only = false) {
  mm2_model_options options;
  mm2_model_options_init(&options, sizeof options);
  options.n_threads = 2;
  options.host = host;
  options.metadata_only = metadata_only ? 1 : 0;
  mm2_model* model = nullptr;
  mm2_error err = no_error();
  const mm2_status status = mm2_model_load(path.c_str(), &options, &model, &err);
  INFO(err.message);
  REQUIRE(status == MM2_OK);
  return Model(model);
}

inline mm2_engine_options small_options(const mm2_host* host = nullptr) {
  mm2_engine_options options;
  mm2_engine_options_init(&options, sizeof options);
  options.max_seqs = 4;
  options.max_tokens_per_step = 64;
  options.kv_tokens = 256;
  options.n_threads = 2;
  options.host = host;
  return options;
}

inline Engine create(const mm2_model* model, const mm2_engine_options& options) {
  mm2_engine* engine = nullptr;
  mm2_error err = no_error();
  const mm2_status status = mm2_engine_create(model, &options, &engine, &err);
  INFO(err.message);
  REQUIRE(status == MM2_OK);
  return Engine(engine);
}

inline Buffer buffer() {
  mm2_buffer* buffer = nullptr;
  REQUIRE(mm2_buffer_create(&buffer, nullptr) == MM2_OK);
  return Buffer(buffer);
}

inline std::string text(const Buffer& buffer) {
  return {static_cast<const char*>(mm2_buffer_data(buffer.get())), mm2_buffer_size(buffer.get())};
}

}  // namespace models
