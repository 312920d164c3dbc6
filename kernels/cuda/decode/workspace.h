// StepBuffers::scratch, cut into what the fast kernels need.
#pragma once

#include "kernels/cuda/decode/layer_steps.h"

namespace mm2::kernels::cuda {

struct Workspace {
  StepInput* input;
  float* qkv;          // [8, q and k and v]
  uint16_t* attended;  // [8, q]
  float* scores;       // [8, n_experts]
  Routing* routing;    // of a layer
  uint16_t* act;       // [8 * top_k, 8, intermediate]
  float4* partials;
  float* sums;  // of chunks
  float2* tops;
  uint32_t*
      counters;  // of products, of attention, of the router; of boundaries, in a line of its own
  int32_t n_counters, n_product_counters;
  uint32_t *part_counters, *router_counter, *met;
  int32_t max_chunks, max_supers;
  int64_t bytes;
};

/// Takes parts one behind the other, each at a multiple of 256 bytes; counts only, where base is null.
class Cutter {
 public:
  explicit Cutter(char* base) : base_(base) {}
  template <typename T>
  T* take(int64_t n) {
    T* here = base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + bytes_);
    bytes_ += round_up(n * static_cast<int64_t>(sizeof(T)), 256);
    return here;
  }
  int64_t bytes() const { return bytes_; }

 private:
  char* base_;
  int64_t bytes_ = 0;
};

/// float4s that threads of products leave to each other at most, and sums that they are parts of.
struct ProductRoom {
  int64_t partials, groups;
};
inline ProductRoom product_room(const ModelShape& s) {
  const DecodeCuts cuts = cuts_of(s);
  const auto blocks = [](int64_t n) { return divide_up(n, kBlockRows); };
  const int64_t kv = int64_t{s.n_kv_heads} * s.head_dim, q = int64_t{s.n_heads} * s.head_dim;
  const int64_t touched = int64_t{kDecodeTokens} * s.top_k;
  struct Need {
    int64_t groups, parts;
  };
  const Need needs[] = {{blocks(q) + 2 * blocks(kv), cuts.qkv.n_pieces},
                        {blocks(s.hidden), cuts.o.n_pieces},
                        {touched * blocks(s.intermediate), 2 * int64_t{cuts.gate_up.n_pieces}},
                        {blocks(s.hidden), touched * cuts.down.n_pieces},
                        {blocks(s.n_vocab), cuts.head.n_pieces == 1 ? 0 : cuts.head.n_pieces}};
  ProductRoom room{0, 0};
  for (const Need& need : needs) {
    const int64_t partials = need.groups * need.parts * kConsumers;
    room.partials = partials > room.partials ? partials : room.partials;
    room.groups = need.groups > room.groups ? need.groups : room.groups;
  }
  return room;
}

/// DecodeOptions::resident_memory, cut.
struct ResidentRoom {
  LayerSteps* layers;
  float* part_sums;
  float2* part_tops;
  int64_t bytes;
};
inline ResidentRoom resident_room(const ModelShape& s, char* base) {
  const int64_t places =
      int64_t{kMostSharedUnits} * kChunkParts * kDecodeTokens * (s.n_heads / s.n_kv_heads);
  Cutter cut(base);
  ResidentRoom room{};
  room.layers = cut.take<LayerSteps>(s.n_layers);
  room.part_sums = cut.take<float>(places * s.head_dim);
  room.part_tops = cut.take<float2>(places);
  room.bytes = cut.bytes();
  return room;
}

inline Workspace workspace_of(const ModelShape& s, int32_t max_positions, char* base) {
  const int64_t q = int64_t{s.n_heads} * s.head_dim, kv = int64_t{s.n_kv_heads} * s.head_dim;
  Workspace at{};
  at.max_chunks = static_cast<int32_t>(divide_up(max_positions, kChunkPositions));
  at.max_supers = static_cast<int32_t>(divide_up(at.max_chunks, kSuperChunks));
  const ProductRoom room = product_room(s);
  Cutter cut(base);
  at.input = cut.take<StepInput>(1);
  at.qkv = cut.take<float>(kDecodeTokens * (q + 2 * kv));
  at.attended = cut.take<uint16_t>(kDecodeTokens * q);
  at.scores = cut.take<float>(int64_t{kDecodeTokens} * s.n_experts);
  at.routing = cut.take<Routing>(1);
  at.act = cut.take<uint16_t>(int64_t{kDecodeTokens} * s.top_k * kDecodeTokens * s.intermediate);
  at.partials = cut.take<float4>(room.partials);
  const int64_t places = kDecodeTokens * s.n_heads * int64_t{at.max_chunks + at.max_supers};
  at.sums = cut.take<float>(places * s.head_dim);
  at.tops = cut.take<float2>(places);
  at.n_product_counters = static_cast<int32_t>(room.groups);
  const int32_t of_parts =
      at.n_product_counters + kDecodeTokens * s.n_kv_heads * (at.max_supers + 1);
  const int32_t of_router = of_parts + kMostSharedUnits * kDecodeTokens;
  const auto of_boundaries = static_cast<int32_t>(round_up(of_router + 1, 32));
  at.n_counters = of_boundaries + 1;
  at.counters = cut.take<uint32_t>(at.n_counters);
  at.part_counters = at.counters + of_parts;
  at.router_counter = at.counters + of_router;
  at.met = at.counters + of_boundaries;
  at.bytes = cut.bytes();
  return at;
}

}  // namespace mm2::kernels::cuda
