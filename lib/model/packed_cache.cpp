#include "model/packed_cache.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "base/checked.h"
#include "format/atomic_writer.h"

namespace mm2 {
namespace {

// File: Header, global scales, hash of each chunk of the memory, hash of all that so far; zeros up to
// a page; the memory.
constexpr char kMagic[8] = {'m', 'm', '2', 'p', 'a', 'c', 'k', '1'};
constexpr uint64_t kPage = 4096;
constexpr uint64_t kChunk = uint64_t{32} << 20;
constexpr uint64_t kSample = 64;  // bytes of each end of a weight

struct Header {
  char magic[8];
  uint64_t key[2];
  uint64_t owned_bytes, n_weights;
};

struct FreeState {
  void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
};

class Hash {
 public:
  Hash() : state_(XXH3_createState()) { XXH3_128bits_reset(state_.get()); }
  void add(const void* data, size_t n) { XXH3_128bits_update(state_.get(), data, n); }
  void add(std::string_view text) {
    add_number(text.size());
    add(text.data(), text.size());
  }
  template <typename T>
  void add_number(T x) {
    const auto wide = static_cast<uint64_t>(x);
    add(&wide, sizeof wide);
  }
  XXH128_hash_t value() const { return XXH3_128bits_digest(state_.get()); }

 private:
  std::unique_ptr<XXH3_state_t, FreeState> state_;
};

Status add_shards(const Checkpoint& checkpoint, Hash& hash) {
  for (const auto& shard : checkpoint.shards()) {
    const std::filesystem::path path(shard->path());
    std::error_code failed;
    const auto time = std::filesystem::last_write_time(path, failed);
    if (failed) {
      return error(Code::unsupported, shard->path(),
                   ": packed_cache is for checkpoints in the file ", "system: ", failed.message());
    }
    hash.add(path.filename().string());
    hash.add_number(std::filesystem::file_size(path, failed));
    hash.add_number(time.time_since_epoch().count());
  }
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    hash.add(tensor.name);
    hash.add_number(tensor.dtype);
    hash.add_number(tensor.shard);
    hash.add_number(tensor.offset);
    hash.add(tensor.shape.to_string());
  }
  return {};
}

Status add_weight(const PlannedWeight& w, const Checkpoint& checkpoint, Hash& hash) {
  const kernels::Format& f = w.format;
  for (const int64_t n : {int64_t{f.scheme}, int64_t{f.number}, int64_t{f.bits}, int64_t{f.zeros},
                          int64_t{f.ordered}, f.patch_rows, f.patch_cols, w.place.n_rows(),
                          w.place.n_cols(), w.place.first_row, int64_t{w.packed}, int64_t{w.mapped},
                          static_cast<int64_t>(w.offset), static_cast<int64_t>(w.bytes)}) {
    hash.add_number(n);
  }
  std::array<std::byte, kSample> sample;
  const size_t n = std::min<uint64_t>(kSample, w.tensor->bytes);
  for (const uint64_t from : {uint64_t{0}, w.tensor->bytes - n}) {
    MM2_RETURN_IF_ERROR(checkpoint.read(*w.tensor, from, n, sample.data()));
    hash.add(sample.data(), n);
  }
  return {};
}

std::vector<uint64_t> chunk_hashes(const std::byte* memory, uint64_t bytes, Executor& executor) {
  std::vector<uint64_t> hashes(ceil_div(bytes, kChunk));
  executor.run(static_cast<int32_t>(hashes.size()), [&](int32_t i, int32_t) {
    const uint64_t from = static_cast<uint64_t>(i) * kChunk;
    hashes[static_cast<size_t>(i)] =
        XXH3_64bits(memory + from, std::min<uint64_t>(kChunk, bytes - from));
  });
  return hashes;
}

}  // namespace

Result<PackedCache> PackedCache::locate(const std::string& folder, const WeightPlan& plan,
                                        const Checkpoint& checkpoint,
                                        const kernels::Backend& backend) {
  Hash hash;
  // Raise the number when kernels/cpu/layout changes.
  hash.add(backend.keeps_file_layout ? std::string_view(backend.name) : "cpu blocks 2");
  MM2_RETURN_IF_ERROR(add_shards(checkpoint, hash));
  for (const PlannedWeight& w : plan.weights) {
    MM2_RETURN_IF_ERROR(add_weight(w, checkpoint, hash));
  }
  const XXH128_hash_t key = hash.value();
  char name[64];
  std::snprintf(name, sizeof name, "%016llx%016llx.mm2pack",
                static_cast<unsigned long long>(key.high64),
                static_cast<unsigned long long>(key.low64));
  PackedCache cache;
  cache.path_ = join_path(folder, name);
  cache.key_ = {key.low64, key.high64};
  cache.owned_bytes_ = plan.owned_bytes;
  cache.n_weights_ = plan.weights.size();
  return cache;
}

Result<PackedCache::Contents> PackedCache::read(Executor& executor) const {
  Contents contents;
  MM2_ASSIGN_OR_RETURN(contents.file, file_system_source()->open(path_));
  const auto damaged = [&](const auto&... how) { return error(Code::format, path_, ": ", how...); };
  const uint64_t n_chunks = ceil_div(owned_bytes_, kChunk);
  const uint64_t described = sizeof(Header) + n_weights_ * sizeof(float) + n_chunks * 8 + 8;
  const uint64_t wanted = round_up(described, kPage) + owned_bytes_;
  if (contents.file->size() != wanted) {
    return damaged(contents.file->size(), " bytes, must be ", wanted);
  }
  const std::byte* file = contents.file->map();
  if (file == nullptr) return damaged("cannot be mapped");
  Header header;
  std::memcpy(&header, file, sizeof header);
  uint64_t stored;
  std::memcpy(&stored, file + described - 8, 8);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0 ||
      XXH3_64bits(file, described - 8) != stored) {
    return damaged("the first ", described, " bytes do not match their hash");
  }
  if (header.key[0] != key_.low || header.key[1] != key_.high ||
      header.owned_bytes != owned_bytes_ || header.n_weights != n_weights_) {
    return damaged("is of another checkpoint");
  }
  contents.global_scales.resize(n_weights_);
  std::memcpy(contents.global_scales.data(), file + sizeof header, n_weights_ * sizeof(float));
  contents.memory = file + round_up(described, kPage);
  const std::vector<uint64_t> hashes = chunk_hashes(contents.memory, owned_bytes_, executor);
  for (size_t i = 0; i < hashes.size(); ++i) {
    const std::byte* at = file + sizeof header + n_weights_ * sizeof(float) + 8 * i;
    std::memcpy(&stored, at, 8);
    if (hashes[i] != stored) {
      return damaged("32 MiB from byte ", round_up(described, kPage) + i * kChunk,
                     " on do not match their hash");
    }
  }
  return contents;
}

Status PackedCache::write(std::span<const std::byte> memory, std::span<const float> global_scales,
                          Executor& executor) const {
  std::error_code failed;
  std::filesystem::create_directories(std::filesystem::path(path_).parent_path(), failed);
  if (failed) return error(Code::io, path_, ": its folder cannot be made: ", failed.message());
  Header header{{}, {key_.low, key_.high}, owned_bytes_, n_weights_};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  const std::vector<uint64_t> hashes = chunk_hashes(memory.data(), owned_bytes_, executor);
  std::vector<std::byte> front(sizeof header + global_scales.size_bytes() + hashes.size() * 8 + 8);
  std::byte* to = front.data();
  const auto put = [&to](const void* from, size_t n) {
    std::memcpy(to, from, n);
    to += n;
  };
  put(&header, sizeof header);
  put(global_scales.data(), global_scales.size_bytes());
  put(hashes.data(), hashes.size() * 8);
  const uint64_t own = XXH3_64bits(front.data(), front.size() - 8);
  put(&own, 8);
  front.resize(round_up<uint64_t>(front.size(), kPage));
  MM2_ASSIGN_OR_RETURN(const std::unique_ptr<AtomicFile> file, AtomicFile::create(path_));
  MM2_RETURN_IF_ERROR(file->append(front.data(), front.size()));
  MM2_RETURN_IF_ERROR(file->append(memory.data(), memory.size()));
  return file->publish();
}

}  // namespace mm2
