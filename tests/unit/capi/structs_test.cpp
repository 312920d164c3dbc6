#include "capi/structs.h"

#include <cstring>
#include <string>

#include <catch2/catch.hpp>

#include "mm2/engine.h"

using mm2::Code;
using mm2::capi::read_struct;

namespace {

/// A newer caller's struct: the one we know and a field after it.
struct NewerBatch {
  mm2_batch known;
  uint64_t added;
};

}  // namespace

TEST_CASE("structs: one that an older header made is read as if continued with zeros") {
  mm2_batch batch;
  std::memset(&batch, 0x77, sizeof batch);
  batch.struct_size = 8;  // only n_seqs
  batch.n_seqs = 3;
  const auto read = read_struct(&batch, "batch");
  REQUIRE(read.ok());
  CHECK(read->n_seqs == 3);
  CHECK(read->seqs == nullptr);
  CHECK(read->n_tokens == 0);
  CHECK(read->struct_size == sizeof(mm2_batch));
}

TEST_CASE("structs: one that a newer header made is accepted while what we do not know is zero") {
  NewerBatch newer{};
  newer.known.struct_size = sizeof newer;
  newer.known.n_seqs = 4;
  CHECK(read_struct(&newer.known, "batch").ok());
  newer.added = 1;
  const auto refused = read_struct(&newer.known, "batch");
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.status().code() == Code::unsupported);
  CHECK(refused.status().message().find("byte 32") != std::string::npos);
}

TEST_CASE("structs: sizes that cannot be are refused before anything is read") {
  for (const uint32_t size : {0u, 3u, 4097u, 0xFFFFFFFFu}) {
    mm2_batch batch{};
    batch.struct_size = size;
    const auto read = read_struct(&batch, "batch");
    REQUIRE_FALSE(read.ok());
    CHECK(read.status().code() == Code::invalid_argument);
    CHECK(read.status().message().find("batch.struct_size") != std::string::npos);
  }
}

TEST_CASE("structs: none at all means all defaults") {
  const auto read = read_struct<mm2_batch>(nullptr, "batch");
  REQUIRE(read.ok());
  CHECK(read->struct_size == sizeof(mm2_batch));
  CHECK(read->n_seqs == 0);
}

TEST_CASE("structs: written as far as the caller's reaches, zeros beyond, size untouched") {
  mm2_memory full{};
  full.host_weights = 5;
  full.load_peak_device = 9;
  unsigned char room[sizeof(mm2_memory) + 24];
  auto* memory = reinterpret_cast<mm2_memory*>(room);

  std::memset(room, 0x55, sizeof room);
  memory->struct_size = 16;
  mm2::capi::write_struct(memory, full);
  CHECK(memory->struct_size == 16);
  CHECK(memory->host_weights == 5);
  CHECK(room[16] == 0x55);

  std::memset(room, 0x55, sizeof room);
  memory->struct_size = sizeof(mm2_memory) + 8;
  mm2::capi::write_struct(memory, full);
  CHECK(memory->struct_size == sizeof(mm2_memory) + 8);
  CHECK(memory->load_peak_device == 9);
  CHECK(room[sizeof(mm2_memory)] == 0);
  CHECK(room[sizeof(mm2_memory) + 7] == 0);
  CHECK(room[sizeof(mm2_memory) + 8] == 0x55);
}
