// calibrate: statistics of a model over tokens, layer by layer from disk, resumable after each layer.
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "tools/calibrate/layer_walk.h"
#include "tools/calibrate/stats.h"
#include "tools/option_reader.h"
#include "tools/stream/hash.h"
#include "tools/stream/journal.h"
#include "tools/tool_options.h"
#include "tools/verbs.h"

namespace mm2 {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxTokensFile = uint64_t{4} << 30;

struct Options {
  std::string model, tokens, tokens_bin, out;
  CollectOptions collect;
  int64_t max_length = 0, max_tokens = 0;
  uint64_t mem = uint64_t{3} << 29;
  int32_t threads = 0;
  bool dry_run = false, resume = false, strict = false;
};

Status read_collect(const OptionReader& reader, CollectOptions& collect) {
  std::vector<std::string> words;
  MM2_RETURN_IF_ERROR(reader.texts("collect", words));
  for (const std::string& word : words) {
    if (word == "imatrix") {
      collect.imatrix = true;
    } else if (word == "act") {
      collect.amax = true;
    } else if (word == "kv") {
      collect.kv = true;
    } else if (word == "hessian") {
      collect.hessian = true;
    } else if (word != "reap") {  // always: it costs nothing
      return reader.wrong("collect", "must be of reap, imatrix, act, kv, hessian");
    }
  }
  return {};
}

Result<Options> read_options(const Json& json) {
  static constexpr std::string_view kAllowed[] = {
      "model", "tokens",  "out",     "collect", "max_length", "max_tokens",
      "mem",   "threads", "dry_run", "resume",  "strict",     "tokens_bin"};
  const OptionReader reader("calibrate", json);
  MM2_RETURN_IF_ERROR(reader.check_names(kAllowed));
  Options to;
  MM2_RETURN_IF_ERROR(reader.text("model", to.model));
  MM2_RETURN_IF_ERROR(reader.text("tokens", to.tokens));
  MM2_RETURN_IF_ERROR(reader.text("tokens_bin", to.tokens_bin));
  MM2_RETURN_IF_ERROR(reader.text("out", to.out));
  MM2_RETURN_IF_ERROR(read_collect(reader, to.collect));
  MM2_RETURN_IF_ERROR(reader.integer("max_length", 0, INT32_MAX, to.max_length));
  MM2_RETURN_IF_ERROR(reader.integer("max_tokens", 0, INT64_MAX, to.max_tokens));
  MM2_RETURN_IF_ERROR(reader.bytes("mem", to.mem));
  MM2_RETURN_IF_ERROR(reader.integer("threads", 0, 4096, to.threads));
  MM2_RETURN_IF_ERROR(reader.boolean("dry_run", to.dry_run));
  MM2_RETURN_IF_ERROR(reader.boolean("resume", to.resume));
  MM2_RETURN_IF_ERROR(reader.boolean("strict", to.strict));
  if (to.model.empty()) return reader.wrong("model", "must name a checkpoint");
  if (to.tokens.empty() == to.tokens_bin.empty()) {
    return reader.wrong("tokens",
                        "must name a file of tokens unless tokens_bin does, and not both");
  }
  if (to.out.empty()) return reader.wrong("out", "must name the file to write");
  return to;
}

// Unfinished work lies in OUT.partial: statistics of each finished layer, and the hidden state after
// the last of them.
class Calibration {
 public:
  Calibration(const Options& options, const CheckpointView& view, const TokenSamples& samples,
              std::shared_ptr<Executor> executor, const Host& host)
      : options_(options),
        view_(view),
        samples_(samples),
        executor_(std::move(executor)),
        host_(host),
        n_hidden_(samples.n_tokens() * static_cast<size_t>(view.config().hidden)) {}

  uint64_t memory() const {
    const ModelConfig& c = view_.config();
    return LayerWalk::memory(view_, samples_) + n_hidden_ * 4 +
           observation_bytes(c.n_experts, c.hidden, c.q_width(), c.intermediate, options_.collect);
  }

  Status check_memory() const {
    if (memory() <= options_.mem) return {};
    return error(Code::out_of_memory, "calibrating ", options_.model, ": ", samples_.n_tokens(),
                 " tokens need ", memory(), " bytes, mem allows ", options_.mem);
  }

  /// Code::invalid_argument where something is in the way: it is not this run's to remove.
  Status begin(const Json& json) const {
    if (fs::exists(options_.out)) {
      return error(Code::invalid_argument, "writing ", options_.out,
                   ": it exists, and nothing is written over");
    }
    if (!options_.resume && fs::exists(partial())) {
      return error(Code::invalid_argument, "writing ", options_.out, ": ", partial(),
                   " is there from a run that did not end; mm2 resume ", options_.out,
                   " continues it, removing it starts anew");
    }
    Json kept = json;
    kept.erase("resume");
    // Finished layers are found by their files: the journal says what was begun.
    MM2_ASSIGN_OR_RETURN(
        const OpenedJournal opened,
        open_journal(journal(), {"calibrate", std::move(kept), digest()}, options_.resume));
    std::error_code failed;
    fs::create_directory(partial(), failed);
    if (failed) return errno_error("writing " + partial(), failed.value());
    return {};
  }

  Status run() {
    MM2_ASSIGN_OR_RETURN(const auto walk, LayerWalk::create(view_, samples_, executor_, host_));
    std::vector<float> hidden(n_hidden_);
    const int32_t n_layers = view_.config().n_layers;
    int32_t layer = 0;
    for (int32_t l = n_layers; l > 0 && layer == 0; --l) {
      if (read_hidden(l, hidden)) layer = l;
    }
    if (layer == 0) MM2_RETURN_IF_ERROR(walk->embed(hidden));
    for (; layer < n_layers; ++layer) {
      if (host_.progress &&
          !host_.progress({kStageTool, static_cast<uint64_t>(layer),
                           static_cast<uint64_t>(n_layers), join("layer ", layer)})) {
        return error(Code::cancelled, "calibrating ", options_.model, ": stopped before layer ",
                     layer, "; mm2 resume ", options_.out, " continues it");
      }
      MM2_RETURN_IF_ERROR(one_layer(*walk, layer, hidden));
    }
    return publish();
  }

  void discard() const {
    std::error_code ignored;
    fs::remove_all(partial(), ignored);
    fs::remove(journal(), ignored);
  }

 private:
  std::string partial() const { return options_.out + ".partial"; }
  std::string journal() const { return options_.out + ".journal"; }
  std::string layer_file(int32_t l) const { return join(partial(), "/layer-", l, ".safetensors"); }
  std::string hidden_file(int32_t l) const {
    return join(partial(), "/hidden-", l, ".safetensors");
  }

  // What must be the same for work to be continued.
  std::string digest() const {
    Hasher hasher(HashKind::xxh3);
    hasher.begin();
    const std::string inputs[] = {view_.folder()};
    const std::string identity = view_.identity().dump() + input_stamps(inputs);
    hasher.update(identity.data(), identity.size());
    hasher.update(samples_.tokens.data(), samples_.tokens.size() * sizeof(int32_t));
    hasher.update(samples_.counted.data(), samples_.counted.size());
    hasher.update(samples_.starts.data(), samples_.starts.size() * sizeof(size_t));
    const bool words[] = {options_.collect.imatrix, options_.collect.amax, options_.collect.kv,
                          options_.collect.hessian};
    hasher.update(words, sizeof words);
    return hasher.finish();
  }

  bool read_hidden(int32_t l, std::vector<float>& hidden) const {
    for (int32_t done = 0; done < l; ++done) {
      if (!fs::exists(layer_file(done))) return false;
    }
    const auto file = SafetensorsFile::open(hidden_file(l), host_);
    if (!file.ok()) return false;
    const TensorInfo* tensor = (*file)->find("hidden");
    return tensor != nullptr && tensor->bytes == hidden.size() * sizeof(float) &&
           (*file)->read(*tensor, 0, tensor->bytes, hidden.data()).ok();
  }

  Status one_layer(LayerWalk& walk, int32_t layer, std::vector<float>& hidden) const {
    const ModelConfig& c = view_.config();
    LayerObservation seen(c.n_experts, c.hidden, c.q_width(), c.intermediate, c.n_kv_heads,
                          options_.collect);
    MM2_RETURN_IF_ERROR(walk.layer(layer, hidden, options_.collect, seen));
    MM2_RETURN_IF_ERROR(
        write_stats(layer_file(layer), stat_tensors(layer, seen, options_.collect), {}));
    StatTensor state;
    state.head = {"hidden", Dtype::f32, {walk.n_tokens(), c.hidden}};
    state.bytes.resize(hidden.size() * sizeof(float));
    std::memcpy(state.bytes.data(), hidden.data(), state.bytes.size());
    MM2_RETURN_IF_ERROR(write_stats(hidden_file(layer + 1), {&state, 1}, {}));
    std::remove(hidden_file(layer).c_str());
    return {};
  }

  Status publish() const {
    std::vector<std::shared_ptr<SafetensorsFile>> files;
    std::vector<OutputTensor> heads;
    for (int32_t l = 0; l < view_.config().n_layers; ++l) {
      MM2_ASSIGN_OR_RETURN(auto file, SafetensorsFile::open(layer_file(l), host_));
      for (const TensorInfo& tensor : file->tensors()) {
        heads.push_back({tensor.name, tensor.dtype, tensor.shape});
      }
      files.push_back(std::move(file));
    }
    const SafetensorsMetadata metadata = {{"mm2_calibration", "1"},
                                          {"model", view_.identity().dump()},
                                          {"tokens", join(samples_.n_tokens())},
                                          {"counted", join(samples_.n_counted())}};
    MM2_ASSIGN_OR_RETURN(const auto writer,
                         SafetensorsWriter::create(options_.out, std::move(heads), metadata));
    for (const auto& file : files) {
      for (const TensorInfo& tensor : file->tensors()) {
        std::vector<std::byte> bytes(tensor.bytes);
        MM2_RETURN_IF_ERROR(file->read(tensor, 0, bytes.size(), bytes.data()));
        MM2_RETURN_IF_ERROR(writer->append(bytes.data(), bytes.size()));
      }
    }
    MM2_RETURN_IF_ERROR(writer->publish());
    discard();
    return {};
  }

  const Options& options_;
  const CheckpointView& view_;
  const TokenSamples& samples_;
  std::shared_ptr<Executor> executor_;
  const Host& host_;
  size_t n_hidden_;
};

Result<TokenSamples> read_samples(const Options& options, const CheckpointView& view,
                                  const Host& host) {
  const bool binary = !options.tokens_bin.empty();
  const std::string& file = binary ? options.tokens_bin : options.tokens;
  MM2_ASSIGN_OR_RETURN(const std::string text, read_all(*host.source, file, kMaxTokensFile));
  return (binary ? parse_binary_samples : parse_samples)(text, file, view.config().n_vocab,
                                                         options.max_length, options.max_tokens);
}

}  // namespace

Status run_calibrate(const Json& json, const Host& host, Json* report) {
  MM2_ASSIGN_OR_RETURN(const Options options, read_options(json));
  MM2_ASSIGN_OR_RETURN(const auto view, CheckpointView::open(options.model, host));
  MM2_ASSIGN_OR_RETURN(const TokenSamples samples, read_samples(options, *view, host));
  MM2_ASSIGN_OR_RETURN(auto executor, tool_executor(options.threads, host));
  Calibration calibration(options, *view, samples, std::move(executor), host);
  Json made = {{"out", options.out},
               {"samples", samples.size()},
               {"tokens", samples.n_tokens()},
               {"counted", samples.n_counted()},
               {"layers", view->config().n_layers},
               {"read_bytes", view->source().tensor_bytes()},
               {"memory_bytes", calibration.memory()}};
  MM2_RETURN_IF_ERROR(calibration.check_memory());
  if (options.dry_run) {
    made["dry_run"] = true;
  } else {
    MM2_RETURN_IF_ERROR(calibration.begin(json));
    const Status status = calibration.run();
    if (!status.ok()) {
      if (!keeps_unfinished(status.code()) && !options.resume) calibration.discard();
      return status;
    }
  }
  *report = std::move(made);
  return {};
}

}  // namespace mm2
