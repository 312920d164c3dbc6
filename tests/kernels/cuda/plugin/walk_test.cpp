// Which table's function runs when, with tables that only note it.
#include "kernels/cuda/plugin/engine.h"

#include <catch2/catch.hpp>

#include <string>
#include <vector>

using namespace mm2::kernels;
using namespace mm2::kernels::cuda;

namespace {

/// A state: what was called with it.
using Notes = std::vector<std::string>;

cudaError_t note(const DeviceStep& step, const char* what) {
  static_cast<Notes*>(step.state)->push_back(what);
  return cudaSuccess;
}

DeviceOps all_ops() {
  DeviceOps ops{};
  ops.name = "all";
  ops.embed = [](const DeviceStep& s, const DeviceMatrix&, float*) { return note(s, "embed"); };
  ops.rope_table = [](const DeviceStep& s, float*) { return note(s, "rope_table"); };
  ops.rms_norm = [](const DeviceStep& s, const float*, const float*, int32_t, int32_t, float*) {
    return note(s, "rms_norm");
  };
  ops.linear = [](const DeviceStep& s, const float*, int32_t, const DeviceMatrix&, const float*,
                  float*) { return note(s, "linear"); };
  ops.qkv = [](const DeviceStep& s, int32_t, const float*) { return note(s, "qkv"); };
  ops.attention = [](const DeviceStep& s, int32_t, float*) { return note(s, "attention"); };
  ops.router = [](const DeviceStep& s, int32_t, const float*, int32_t*, float*) {
    return note(s, "router");
  };
  ops.experts = [](const DeviceStep& s, int32_t, const float*, const int32_t*, const float*,
                   float*) { return note(s, "experts"); };
  ops.finish = [](const DeviceStep& s) { return note(s, "finish"); };
  return ops;
}

struct Fixture {
  Fixture() {
    weights.shape.n_layers = 2;
    weights.layers = layers;
    step.weights = &weights;
    step.n_tokens = step.n_rows = step.n_outputs = 1;
  }
  int32_t run() {
    for (Notes& one : notes) one.clear();
    const Tables tables{2, {&first, &all}, {&notes[0], &notes[1]}};
    return walk(tables, step, hooks, &result);
  }
  DeviceWeights weights{};
  DeviceLayer layers[2] = {};
  DeviceStep step{};
  DeviceOps first{}, all = all_ops();
  Notes notes[2];
  WalkHooks hooks{};
  cudaError_t result = cudaSuccess;
};

}  // namespace

TEST_CASE("cuda plugin walk: the model's order, each function by the first table that has it") {
  Fixture f;
  f.first.attention = [](const DeviceStep& s, int32_t, float*) { return note(s, "attention"); };
  f.first.experts_half = [](const DeviceStep& s, int32_t) { return note(s, "experts_half"); };
  CHECK(f.run() == kDeviceOk);
  CHECK(f.notes[0] == Notes{"attention", "experts_half", "attention", "experts_half"});
  CHECK(f.notes[1] == Notes{"embed", "rope_table", "rms_norm", "qkv", "linear", "rms_norm", "qkv",
                            "linear", "finish"});
}

TEST_CASE("cuda plugin walk: a function that fails is the last one") {
  Fixture f;
  f.first.attention = [](const DeviceStep&, int32_t, float*) { return cudaErrorInvalidValue; };
  CHECK(f.run() == kDeviceFailed);
  CHECK(f.result == cudaErrorInvalidValue);
  CHECK(f.notes[1] == Notes{"embed", "rope_table", "rms_norm", "qkv"});
}

TEST_CASE("cuda plugin walk: a function for all layers is asked between them whether to go on") {
  Fixture f;
  f.first.layers = [](const DeviceStep& s) {
    (void)note(s, "layer");
    return s.stops(s.stops_self, 1) != 0 ? cudaSuccess : note(s, "layer");
  };
  int32_t asked = 0;
  f.hooks.self = &asked;
  f.hooks.before_layer = [](void* self, int32_t layer) {
    ++*static_cast<int32_t*>(self);
    return layer == 1 ? int32_t{kDeviceInterrupted} : int32_t{kDeviceOk};
  };
  CHECK(f.run() == kDeviceInterrupted);
  CHECK(asked == 2);
  CHECK(f.notes[0] == Notes{"layer"});
  CHECK(f.notes[1].empty());
  f.hooks.before_layer = nullptr;
  CHECK(f.run() == kDeviceOk);
  CHECK(f.notes[0] == Notes{"layer", "layer"});
  CHECK(f.notes[1] == Notes{"finish"});
}
