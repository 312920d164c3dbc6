// A sequence as bytes: what it was computed with, its tokens, its keys and values, a checksum.
//
//   Header | tokens [n_tokens] int32 | positions [n_tokens] of Backend::read_positions | digest
//
// Numbers are little-endian. Blocks do not appear, so pools with blocks of any size take it.
#include <algorithm>
#include <bit>
#include <cstring>

#include "engine/engine.h"
#include "engine/in_use.h"
#include "kernels/api/numbers.h"

namespace mm2 {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are written as they lie");

constexpr char kMagic[8] = {'m', 'm', '2', ' ', 's', 'e', 'q', '\n'};
constexpr uint32_t kVersion = 1;

struct Header {
  char magic[8];
  uint32_t version;
  uint32_t header_bytes;
  uint64_t total_bytes;
  Digest model;  // Model::fingerprint
  int32_t kv_number, kv_scales, activations;
  int32_t n_layers, n_kv_heads, head_dim;
  int32_t n_tokens;
  int32_t reserved;
};
static_assert(sizeof(Header) == 88, "no gaps");

uint64_t position_bytes(const Header& h) {
  return uint64_t{2} * static_cast<uint64_t>(h.n_layers) * static_cast<uint64_t>(h.n_kv_heads) *
         static_cast<uint64_t>(h.head_dim) * static_cast<uint64_t>(kernels::bytes_of(h.kv_number));
}

uint64_t total_bytes(const Header& h) {
  return sizeof(Header) + static_cast<uint64_t>(h.n_tokens) * (4 + position_bytes(h)) +
         sizeof(Digest);
}

Digest digest_of(std::string_view bytes) {
  Blake2b hash;
  hash.add(bytes.data(), bytes.size());
  return hash.finish();
}

// That these are the bytes that an export wrote, whichever engine it was.
Result<Header> read_header(std::string_view bytes) {
  const auto refuse = [](const auto&... why) {
    return error(Code::format, "the exported sequence ", why...);
  };
  Header h;
  if (bytes.size() < sizeof h + sizeof(Digest)) {
    return refuse("has ", bytes.size(), " bytes, its header and checksum alone are ",
                  sizeof h + sizeof(Digest));
  }
  std::memcpy(&h, bytes.data(), sizeof h);
  if (std::memcmp(h.magic, kMagic, sizeof kMagic) != 0) {
    return refuse("does not begin with the words of mm2_seq_export");
  }
  if (h.version != kVersion) {
    return error(Code::unsupported, "the exported sequence is of version ", h.version,
                 ", this library reads version ", kVersion);
  }
  if (h.total_bytes != bytes.size()) {
    return refuse("has ", bytes.size(), " bytes, its header says ", h.total_bytes);
  }
  Digest stored;
  std::memcpy(&stored, bytes.data() + bytes.size() - sizeof stored, sizeof stored);
  if (digest_of(bytes.substr(0, bytes.size() - sizeof stored)) != stored) {
    return refuse("does not match its checksum: it was damaged");
  }
  return h;
}

// What this engine would write in front of n_tokens tokens; all of it must be equal in an import.
Header header_of(const Model& model, const EngineOptions& o, int32_t number, int32_t n_tokens) {
  const kernels::ModelShape& s = model.shape();
  Header h{};
  std::memcpy(h.magic, kMagic, sizeof kMagic);
  h.version = kVersion;
  h.header_bytes = sizeof h;
  h.model = model.fingerprint();
  h.kv_number = number;
  h.kv_scales = number == kernels::kE4M3 ? static_cast<int32_t>(o.kv_scales) : 0;
  h.activations = static_cast<int32_t>(o.activations);
  h.n_layers = s.n_layers;
  h.n_kv_heads = s.n_kv_heads;
  h.head_dim = s.head_dim;
  h.n_tokens = n_tokens;
  h.total_bytes = total_bytes(h);
  return h;
}

// That this engine would have computed the same.
Status check_origin(const Header& theirs, const Header& ours) {
  const auto refuse = [](const auto&... why) {
    return error(Code::invalid_argument, "the exported sequence is of ", why...);
  };
  if (theirs.model != ours.model) return refuse("another model: the fingerprints differ");
  if (theirs.kv_number != ours.kv_number) {
    return refuse("a KV cache of another number (", kernels::bytes_of(theirs.kv_number),
                  " bytes each, here ", kernels::bytes_of(ours.kv_number), ")");
  }
  if (theirs.kv_scales != ours.kv_scales) {
    return refuse("an engine with kv_scales ", theirs.kv_scales, ", here ", ours.kv_scales);
  }
  if (theirs.activations != ours.activations) {
    return refuse("an engine with activations ", theirs.activations, ", here ", ours.activations);
  }
  return {};
}

}  // namespace

Status Engine::read_positions(const kernels::StepRow& row, int32_t first, int32_t n,
                              void* to) const {
  if (device_engine_ != nullptr) return device_engine_->read_positions(row, first, n, to);
  model_->backend().read_positions(&kv_, &model_->shape(), &row, first, n, to);
  return {};
}

Status Engine::write_positions(const kernels::StepRow& row, int32_t first, int32_t n,
                               const void* from) {
  if (device_engine_ != nullptr) return device_engine_->write_positions(row, first, n, from);
  model_->backend().write_positions(&kv_, &model_->shape(), &row, first, n, from);
  return {};
}

Result<std::string> Engine::seq_export(int32_t seq_id) const {
  MM2_RETURN_IF_ERROR(usable());
  const int32_t length = seq_length(seq_id);
  if (length == 0) return error(Code::not_found, "sequence ", seq_id, " holds nothing to export");
  const Header header = header_of(*model_, options_, kv_.number, length);
  std::string bytes(header.total_bytes, '\0');
  char* at = bytes.data();
  std::memcpy(at, &header, sizeof header);
  at += sizeof header;
  std::vector<int32_t> tokens(static_cast<size_t>(length));
  sequences_->read_tokens(seq_id, tokens);
  std::memcpy(at, tokens.data(), tokens.size() * 4);
  at += tokens.size() * 4;
  const kernels::StepRow row{0, length, 0, 0, sequences_->blocks(seq_id).data()};
  for (int32_t first = 0; first < length; first += kernels::kAttentionBlock) {
    const int32_t n = std::min(kernels::kAttentionBlock, length - first);
    MM2_RETURN_IF_ERROR(read_positions(row, first, n, at));
    at += position_bytes(header) * static_cast<uint64_t>(n);
  }
  const Digest digest = digest_of({bytes.data(), bytes.size() - sizeof(Digest)});
  std::memcpy(at, &digest, sizeof digest);
  return bytes;
}

Status Engine::seq_import(int32_t seq_id, std::string_view bytes) {
  const InUse use(busy_);
  MM2_RETURN_IF_ERROR(use.status());
  MM2_RETURN_IF_ERROR(usable());
  if (seq_id < 0) return error(Code::invalid_argument, "seq_id ", seq_id, " must not be negative");
  if (seq_length(seq_id) != 0) {
    return error(Code::invalid_argument, "sequence ", seq_id, " holds ", seq_length(seq_id),
                 " tokens; it must be empty to be imported");
  }
  MM2_ASSIGN_OR_RETURN(const Header header, read_header(bytes));
  const Header ours = header_of(*model_, options_, kv_.number, header.n_tokens);
  MM2_RETURN_IF_ERROR(check_origin(header, ours));
  if (header.n_tokens < 1 || std::memcmp(&header, &ours, sizeof ours) != 0) {
    return error(Code::format,
                 "the exported sequence has a header that contradicts itself: ", header.n_tokens,
                 " tokens, ", header.total_bytes, " bytes");
  }
  std::vector<int32_t> tokens(static_cast<size_t>(header.n_tokens));
  std::memcpy(tokens.data(), bytes.data() + sizeof header, tokens.size() * 4);
  MM2_RETURN_IF_ERROR(check_tokens(tokens));
  MM2_RETURN_IF_ERROR(sequences_->reserve(seq_id, header.n_tokens));
  const char* at = bytes.data() + sizeof header + tokens.size() * 4;
  const kernels::StepRow row{0, header.n_tokens, 0, 0, sequences_->blocks(seq_id).data()};
  for (int32_t first = 0; first < header.n_tokens; first += kernels::kAttentionBlock) {
    const int32_t n = std::min(kernels::kAttentionBlock, header.n_tokens - first);
    if (Status status = write_positions(row, first, n, at); !status.ok()) {
      sequences_->roll_back(seq_id);
      return status;
    }
    at += position_bytes(header) * static_cast<uint64_t>(n);
  }
  sequences_->commit(seq_id, tokens);
  return {};
}

}  // namespace mm2
