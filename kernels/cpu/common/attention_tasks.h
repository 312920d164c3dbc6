// How attention is cut into tasks. Which worker computes what, and when, changes no bit: a chunk's
// sums depend on its positions alone and are added in ascending order.
#pragma once

#include "kernels/api/parallel.h"
#include "kernels/cpu/common/attention.h"

namespace mm2::kernels::common {
namespace {

/// Queries that share one reading of keys and values; at least those of one token.
constexpr int32_t kTileQueries = 96;
/// States of whole tiles for each worker, where a tile is cut by chunks.
constexpr int64_t kSlots = 8;
/// A tile is cut when it is more work than this part of one worker's share.
constexpr int64_t kCutBelow = 4;

inline int32_t tile_tokens(const ModelShape& s) {
  const int32_t n = kTileQueries / (s.n_heads / s.n_kv_heads);
  return n < 1 ? 1 : n;
}

/// The tiles of a call one after the other: rows ascending, in a row the last tokens first, which
/// are the most work.
class TileWalk {
 public:
  explicit TileWalk(const AttentionCall& call)
      : call_(call), row_(call.a.rows), left_(tiles_of_row()) {}

  bool done() const { return row_ == call_.a.rows + call_.a.n_rows; }

  QueryTile tile() const {
    const int32_t n = tile_tokens(*call_.a.shape);
    const int32_t first = (left_ - 1) * n;
    const int32_t rest = row_->n_tokens - first;
    const int32_t n_tokens = rest < n ? rest : n;
    const int64_t position = int64_t{row_->first_position} + first;
    return {row_,
            kv_head_,
            n_tokens * call_.group,
            int64_t{row_->first_token} + first,
            position,
            position + n_tokens - 1};
  }

  void next() {
    if (++kv_head_ < call_.a.shape->n_kv_heads) return;
    kv_head_ = 0;
    if (--left_ > 0) return;
    next_row();
  }

  /// n tiles further, from the first one on.
  void skip(int64_t n) {
    const int32_t heads = call_.a.shape->n_kv_heads;
    for (; n >= int64_t{left_} * heads; next_row()) n -= int64_t{left_} * heads;
    left_ -= static_cast<int32_t>(n / heads);
    kv_head_ = static_cast<int32_t>(n % heads);
  }

 private:
  int32_t tiles_of_row() const {
    const int32_t n = tile_tokens(*call_.a.shape);
    return (row_->n_tokens + n - 1) / n;
  }

  void next_row() {
    ++row_;
    left_ = done() ? 0 : tiles_of_row();
  }

  const AttentionCall& call_;
  const StepRow* row_;
  int32_t left_;  // tiles of the row that are not done, of each KV head
  int32_t kv_head_ = 0;
};

/// Scratch: rooms of all workers, then what cut tiles need.
struct AttentionScratch {
  int64_t n_queries, state, room, bytes;  // of a whole tile; state and room in bytes

  AttentionScratch(const ModelShape& s, int64_t n_workers) {
    n_queries = int64_t{tile_tokens(s)} * (s.n_heads / s.n_kv_heads);
    state = state_bytes(s, n_queries);
    room = (n_queries * (attention_width(s) + kKvLanes) + kPieceSteps * kKvLanes) * 4 + 2 * state;
    bytes = n_workers * room + (2 + n_workers * kSlots) * state;
  }
};

template <class Isa>
class AttentionRun {
 public:
  AttentionRun(const Executor* run, const AttentionArgs<float>& a)
      : run_(run),
        call_(a),
        scratch_(*a.shape, run->n_workers),
        cut_(static_cast<char*>(a.scratch) + run->n_workers * scratch_.room) {}

  void run() {
    int64_t n_tiles = 0, most = 0, all = 0;
    for (TileWalk walk(call_); !walk.done(); walk.next()) {
      const int64_t n = walk.tile().n_chunks();
      ++n_tiles;
      most = n > most ? n : most;
      all += n;
    }
    if (most * run_->n_workers * kCutBelow <= all || run_->n_workers == 1) {
      run_whole(n_tiles);
    } else {
      run_cut();
    }
  }

 private:
  // A place among the chunks of all tiles.
  struct Place {
    TileWalk walk;
    int64_t chunk;
  };

  // n chunks further; at most to the end.
  static void advance(Place& place, int64_t n) {
    for (place.chunk += n; !place.walk.done(); place.walk.next()) {
      const int64_t of_tile = place.walk.tile().n_chunks();
      if (place.chunk < of_tile) return;
      place.chunk -= of_tile;
    }
    place.chunk = 0;
  }

  AttentionRoom room_of(int32_t worker, char** rest) const {
    const int64_t n = scratch_.n_queries;
    float* q =
        reinterpret_cast<float*>(static_cast<char*>(call_.a.scratch) + worker * scratch_.room);
    float* rows = q + n * call_.width;
    float* scores = rows + kPieceSteps * kKvLanes;
    *rest = reinterpret_cast<char*>(scores + n * kKvLanes);
    return {q, rows, scores};
  }

  void run_whole(int64_t n_tiles) {
    run_tasks(run_, n_tiles, [&](int32_t index, int32_t worker) {
      TileWalk walk(call_);
      walk.skip(index);
      const QueryTile tile = walk.tile();
      char* rest;
      const AttentionRoom room = room_of(worker, &rest);
      const AttentionState all = state_at(*call_.a.shape, tile.n_queries, rest);
      const AttentionState part = state_at(*call_.a.shape, tile.n_queries, rest + scratch_.state);
      enter_queries(call_, tile, room.q);
      ChunkSums<Isa>(call_, tile, room, all).run(0);
      for (int64_t chunk = 1; chunk < tile.n_chunks(); ++chunk) {
        ChunkSums<Isa>(call_, tile, room, part).run(chunk);
        add_chunk(call_, tile, chunk, part, all);
      }
      write_results(call_, tile, all);
    });
  }

  // As many chunks at a time as there are slots for. A tile whose chunks do not all fit is carried
  // over: its sums so far lie in one of two places, by turns.
  void run_cut() {
    int64_t n_queries = 0;
    for (TileWalk walk(call_); !walk.done(); walk.next()) {
      n_queries = walk.tile().n_queries > n_queries ? walk.tile().n_queries : n_queries;
    }
    const int64_t slot = state_bytes(*call_.a.shape, n_queries);
    const int64_t n_slots = run_->n_workers * kSlots * scratch_.state / slot;
    char* carried = cut_;
    char* carry = cut_ + scratch_.state;
    char* slots = carry + scratch_.state;
    Place place{TileWalk(call_), 0};
    while (!place.walk.done()) {
      const Wave wave = wave_from(place, n_slots);
      run_tasks(run_, wave.n_items, [&](int32_t index, int32_t worker) {
        Place at = place;
        advance(at, index);
        const QueryTile tile = at.walk.tile();
        char* rest;
        const AttentionRoom room = room_of(worker, &rest);
        enter_queries(call_, tile, room.q);
        const AttentionState to = state_at(*call_.a.shape, tile.n_queries, slots + index * slot);
        ChunkSums<Isa>(call_, tile, room, to).run(at.chunk);
      });
      run_tasks(run_, wave.n_tiles, [&](int32_t index, int32_t) {
        join(place, index, wave.n_items, slots, slot, carried, carry);
      });
      char* other = carried;
      carried = carry;
      carry = other;
      advance(place, wave.n_items);
    }
  }

  struct Wave {
    int64_t n_items, n_tiles;  // chunks, and tiles that they belong to
  };

  static Wave wave_from(Place place, int64_t n_slots) {
    Wave wave{0, 0};
    for (; wave.n_items < n_slots && !place.walk.done(); place.walk.next()) {
      wave.n_items += place.walk.tile().n_chunks() - place.chunk;
      ++wave.n_tiles;
      place.chunk = 0;
    }
    if (wave.n_items > n_slots) wave.n_items = n_slots;
    return wave;
  }

  // Adds up the chunks of a tile of the wave that begins at `place`.
  void join(Place place, int32_t index, int64_t n_items, char* slots, int64_t slot, char* carried,
            char* carry) const {
    int64_t item = 0;
    for (; index > 0; --index) {
      item += place.walk.tile().n_chunks() - place.chunk;
      place.chunk = 0;
      place.walk.next();
    }
    const QueryTile tile = place.walk.tile();
    const ModelShape& s = *call_.a.shape;
    const bool starts = place.chunk == 0;
    char* base = starts ? slots + item * slot : carried;
    const AttentionState all = state_at(s, tile.n_queries, base);
    int64_t chunk = place.chunk + (starts ? 1 : 0);
    for (item += starts ? 1 : 0; chunk < tile.n_chunks() && item < n_items; ++chunk, ++item) {
      add_chunk(call_, tile, chunk, state_at(s, tile.n_queries, slots + item * slot), all);
    }
    if (chunk == tile.n_chunks()) {
      write_results(call_, tile, all);
    } else {
      memcpy(carry, base, static_cast<size_t>(state_bytes(s, tile.n_queries)));
    }
  }

  const Executor* run_;
  AttentionCall call_;
  AttentionScratch scratch_;
  char* cut_;
};

template <class Isa>
inline void attention(const Executor* run, const AttentionArgs<float>* a) {
  AttentionRun<Isa>(run, *a).run();
}

inline int64_t attention_scratch(const ModelShape& s, int64_t n_workers) {
  return AttentionScratch(s, n_workers).bytes;
}

}  // namespace
}  // namespace mm2::kernels::common
