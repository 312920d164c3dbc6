#include "mm2/mm2.hpp"

#include <string>
#include <vector>

#include <catch2/catch.hpp>

TEST_CASE("hpp: load, step, sample") {
  const auto model = mm2::Model::load(std::string(MM2_TEST_DATA) + "/models/bf16_single");
  auto options = mm2::make<mm2_engine_options>();
  options.max_seqs = 2;
  options.kv_tokens = 128;
  CHECK(model.estimate(&options).host_kv > 0);
  mm2::Engine engine = model.create_engine(&options);
  std::vector<float> logits;
  engine.step({{0, 0, 3, 1}}, {1, 2, 3}, logits);
  CHECK(logits.size() == 512);
  CHECK(engine.length(0) == 3);
  engine.fork(0, 1, 2);
  engine.truncate(1, 1);
  CHECK(engine.length(1) == 1);
  engine.free(1);

  auto sampling = model.sampler_options();
  sampling.seed = 3;
  mm2::Sampler sampler(sampling, model.info().n_vocab);
  sampler.accept_prompt({1, 2, 3});
  mm2::Sampler twin = sampler.clone();
  CHECK(sampler.sample(logits.data()) == twin.sample(logits.data()));
}

TEST_CASE("hpp: a failure is an exception with the code and the sentence") {
  try {
    mm2::Model::load("no/such/folder");
    FAIL("loaded");
  } catch (const mm2::Error& e) {
    CHECK(e.code() == MM2_E_NOT_FOUND);
    CHECK(std::string(e.what()).find("no/such/folder") != std::string::npos);
  }
}

TEST_CASE("hpp: the parser's events come until there are no more") {
  mm2::Parser parser(mm2::make<mm2_parser_options>());
  parser.push("hello");
  parser.finish();
  std::string text;
  std::vector<int32_t> kinds;
  while (const auto event = parser.next()) {
    kinds.push_back(event->kind);
    text.append(event->data, event->length);
  }
  CHECK(text == "hello");
  CHECK(kinds == std::vector<int32_t>{MM2_EVENT_TEXT, MM2_EVENT_FINISH});
}
