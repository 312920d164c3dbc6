#include "session.h"

#include <algorithm>

#include "interrupt.h"
#include "json_io.h"
#include "progress.h"

namespace cli {

Model load_model(const std::string& path, const EngineFlags& flags, bool metadata_only,
                 const mm2_source* source) {
  catch_interrupts();
  ProgressDisplay progress(flags.progress);
  mm2_host host = progress.host();
  host.source = source;
  auto options = sized<mm2_model_options>();
  options.device = flags.device;
  options.device_index = flags.device_index;
  if (!flags.device_plugin.empty()) options.device_plugin = flags.device_plugin.c_str();
  options.isa = flags.isa;
  options.n_threads = flags.threads;
  options.metadata_only = metadata_only ? 1 : 0;
  options.host = &host;
  return make<Model>("loading " + path, mm2_model_load, path.c_str(), &options);
}

mm2_model_info model_info(const mm2_model* model) {
  auto info = sized<mm2_model_info>();
  call("reading the model's shape", mm2_model_get_info, model, &info);
  return info;
}

mm2_engine_options engine_options(const EngineFlags& flags) {
  auto options = sized<mm2_engine_options>();
  options.max_seqs = flags.max_seqs > 0 ? flags.max_seqs : 1;
  options.max_tokens_per_step = flags.max_tokens_per_step;
  options.kv_tokens = flags.kv_tokens;
  options.max_outputs_per_step = options.max_seqs;
  options.kv_dtype = flags.kv_dtype;
  options.kv_scales = flags.kv_scales;
  options.activations = flags.activations;
  options.device_kernels = flags.device_kernels;
  options.n_threads = flags.threads;
  return options;
}

Engine make_engine(const mm2_model* model, const mm2_engine_options& options) {
  return make<Engine>("making an engine", mm2_engine_create, model, &options);
}

mm2_engine_info engine_info(const mm2_engine* engine) {
  auto info = sized<mm2_engine_info>();
  call("reading the engine's options", mm2_engine_get_info, engine, &info);
  return info;
}

TokenIds stop_ids(const mm2_model* model) {
  const std::string doing = "reading the model's description";
  Buffer buffer;
  call(doing, mm2_model_describe, model, buffer.get());
  const Json description = parse_json(buffer.text(), doing);
  const auto generation = description.find("generation");
  if (generation == description.end() || !generation->contains("eos_token_ids")) return {};
  return ids_of((*generation)["eos_token_ids"], doing);
}

bool is_stop(int32_t id, const TokenIds& stop_ids, const mm2_tokenizer* tokenizer) {
  if (std::find(stop_ids.begin(), stop_ids.end(), id) != stop_ids.end()) return true;
  int32_t stop = 0;
  if (tokenizer != nullptr)
    call("asking for stop tokens", mm2_tokenizer_is_stop, tokenizer, id, &stop);
  return stop != 0;
}

TokenIds encode(const mm2_tokenizer* tokenizer, std::string_view text, uint32_t flags) {
  Buffer ids;
  call("tokenizing", mm2_tokenizer_encode, tokenizer, text.data(), text.size(), flags, ids.get());
  return ids.ids();
}

Sequence::Sequence(mm2_engine* engine) : engine_(engine), info_(engine_info(engine)) {}

void Sequence::require_room(size_t n_tokens, const std::string& doing) const {
  const int64_t room = std::min(info_.kv_tokens, info_.max_positions);
  if (n_tokens <= static_cast<size_t>(room)) return;
  const bool pool_is_small = info_.kv_tokens < info_.max_positions;
  throw Failure(pool_is_small ? kResources : kInvalidInput, doing,
                std::to_string(n_tokens) + " tokens, but " +
                    (pool_is_small ? "the key/value pool holds " : "the model has positions for ") +
                    std::to_string(room) + (pool_is_small ? " (see --kv-tokens)" : ""));
}

std::span<const float> Sequence::set(const TokenIds& ids, const BeforeStep& before_step) {
  if (ids.empty()) throw Failure(kInvalidInput, "reading the prompt", "it holds no token");
  require_room(ids.size(), "reading the prompt");
  const size_t n_common =
      std::mismatch(ids.begin(), ids.end(), held_.begin(), held_.end()).first - ids.begin();
  // The last token is computed again when everything is there: its logits are wanted.
  n_reused_ = std::min(n_common, ids.size() - 1);
  if (n_reused_ < held_.size()) {
    call("going back in the conversation", mm2_seq_truncate, engine_, 0,
         static_cast<int32_t>(n_reused_));
    held_.resize(n_reused_);
  }
  std::span<const float> logits;
  const auto max_step = static_cast<size_t>(info_.max_tokens_per_step);
  while (held_.size() < ids.size()) {
    if (before_step) before_step(held_.size(), ids.size());
    const size_t begin = held_.size(), n = std::min(max_step, ids.size() - begin);
    logits = step({ids.data() + begin, n}, begin + n == ids.size() ? 1 : 0);
  }
  return logits;
}

std::span<const float> Sequence::append(int32_t id) {
  require_room(held_.size() + 1, "generating");
  return step({&id, 1}, 1);
}

std::span<const float> Sequence::step(std::span<const int32_t> ids, int32_t n_outputs) {
  const mm2_seq_rows row = {0, static_cast<int32_t>(held_.size()), static_cast<int32_t>(ids.size()),
                            n_outputs};
  auto batch = sized<mm2_batch>();
  batch.n_seqs = 1;
  batch.seqs = &row;
  batch.tokens = ids.data();
  batch.n_tokens = row.n_tokens;
  logits_.resize(static_cast<size_t>(n_outputs) * info_.n_vocab);

  // One that reached the engine after its step had ended says nothing about this one. Cleared before
  // the question whether there is a new one, so that none is lost.
  mm2_engine_clear_interrupt(engine_);
  const InterruptScope scope(engine_);
  const std::string doing = "computing positions " + std::to_string(row.first_position) + " to " +
                            std::to_string(row.first_position + row.n_tokens - 1);
  mm2_error error = new_error();
  if (interrupted()) {
    error.code = MM2_CANCELLED;
    throw Failure(MM2_CANCELLED, doing, error);
  }
  const mm2_status status = mm2_engine_step(
      engine_, &batch, n_outputs > 0 ? logits_.data() : nullptr, logits_.size(), nullptr, &error);
  if (status != MM2_OK) throw Failure(status, doing, error);
  held_.insert(held_.end(), ids.begin(), ids.end());
  return logits_;
}

void Sequence::clear() {
  call("forgetting the conversation", mm2_seq_free, engine_, 0);
  held_.clear();
}

}  // namespace cli
