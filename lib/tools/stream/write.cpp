#include "tools/stream/write.h"

#include <algorithm>
#include <atomic>
#include <mutex>

#include "base/checked.h"
#include "tensor/buffer.h"
#include "tools/stream/hash.h"
#include "tools/stream/journal.h"
#include "tools/stream/output_folder.h"

namespace mm2 {
namespace {

constexpr size_t kReadBack = 4 << 20;
// Bytes that are hashed and written before the next ones: they are still in the core's own cache.
constexpr size_t kInCache = 256 << 10;

class Run {
 public:
  Run(const WritePlan& plan, const WriteOptions& options, const Layout& layout, Executor& executor,
      const Host& host)
      : plan_(plan), options_(options), layout_(layout), executor_(executor), host_(host) {
    total_ = plan.bytes() + plan.bytes_read();
  }

  Status write(OutputFolder& folder, Json& report) {
    folder_ = &folder;
    done_.resize(plan_.pieces.size());
    MM2_RETURN_IF_ERROR(start());
    MM2_RETURN_IF_ERROR(run_pieces());
    return conclude(report);
  }

 private:
  // The journal and the files; what an earlier run has done and is still there counts as done.
  Status start() {
    const std::string plan = xxh3_of(plan_digest(plan_, layout_) + input_stamps(plan_.inputs));
    MM2_ASSIGN_OR_RETURN(
        OpenedJournal opened,
        open_journal(folder_->journal(), {options_.verb, options_.options, plan}, options_.resume));
    journal_ = std::move(opened.journal);
    MM2_RETURN_IF_ERROR(folder_->make(layout_));
    return check_done(opened.done);
  }

  Status check_done(std::vector<DonePiece>& done) {
    executor_.run(static_cast<int32_t>(done.size()), [&](int32_t task, int32_t) {
      DonePiece& piece = done[static_cast<size_t>(task)];
      const size_t index = piece.piece;
      if (index >= done_.size() || piece.digests.size() != plan_.pieces[index].outputs.size()) {
        return;
      }
      bool same = true;
      for (size_t i = 0; same && i < piece.digests.size(); ++i) {
        const OutputRange& range = plan_.pieces[index].outputs[i];
        const Result<std::string> digest = digest_of(range.tensor, range.from, range.n);
        same = digest.ok() && *digest == piece.digests[i];
      }
      if (!same) return;
      const std::lock_guard lock(mutex_);
      progressed_ += plan_.pieces[index].bytes_read;
      for (const OutputRange& range : plan_.pieces[index].outputs) progressed_ += range.n;
      done_[index] = std::move(piece);
    });
    return {};
  }

  Result<std::string> digest_of(uint32_t tensor, uint64_t from, uint64_t n) const {
    MM2_ASSIGN_OR_RETURN(
        Buffer buffer,
        Buffer::make(host_.allocator, static_cast<size_t>(std::min<uint64_t>(n, kReadBack))));
    Hasher hasher(HashKind::xxh3);
    hasher.begin();
    for (uint64_t at = 0; at < n; at += kReadBack) {
      const auto now = static_cast<size_t>(std::min<uint64_t>(kReadBack, n - at));
      MM2_RETURN_IF_ERROR(
          file_of(tensor).read_at(layout_.offset[tensor] + from + at, buffer.data(), now));
      hasher.update(buffer.data(), now);
    }
    return hasher.finish();
  }

  Status run_pieces() {
    const uint64_t largest = plan_.largest_piece();
    const uint64_t fit = largest == 0 ? UINT64_MAX : options_.mem / largest;
    const auto n_workers =
        static_cast<int32_t>(std::min<uint64_t>(static_cast<uint64_t>(executor_.n_workers()), fit));
    std::vector<Buffer> buffers;
    for (int32_t i = 0; i < n_workers; ++i) {
      MM2_ASSIGN_OR_RETURN(Buffer buffer,
                           Buffer::make(host_.allocator, static_cast<size_t>(largest)));
      buffers.push_back(std::move(buffer));
    }
    executor_.run(n_workers, [&](int32_t task, int32_t) {
      for (size_t i = next_++; i < plan_.pieces.size() && !stopped_; i = next_++) {
        if (!done_[i].digests.empty() || plan_.pieces[i].outputs.empty()) continue;
        const Status status = run_piece(i, buffers[static_cast<size_t>(task)]);
        if (!status.ok()) stop(status);
      }
    });
    return failure_;
  }

  Status run_piece(size_t index, Buffer& buffer) {
    const Piece& piece = plan_.pieces[index];
    DonePiece done{index, {}, {}};
    MM2_RETURN_IF_ERROR(piece.copies.empty() ? compute_piece(piece, buffer.data(), done)
                                             : copy_piece(piece, buffer.data(), done));
    MM2_RETURN_IF_ERROR(journal_->add(done));
    for (const OutputRange& range : piece.outputs) {
      if (range.n >= kInCache) {
        file_of(range.tensor).begin_sync(layout_.offset[range.tensor] + range.from, range.n);
      }
    }
    done_[index] = std::move(done);
    return report_progress(piece);
  }

  Status compute_piece(const Piece& piece, std::byte* memory, DonePiece& done) {
    PieceRun run;
    const auto take = [&](uint64_t n) {
      const std::span<std::byte> taken(memory, static_cast<size_t>(n));
      memory += round_up(n, Buffer::kAlignment);
      return taken;
    };
    run.scratch = take(piece.scratch);
    for (const OutputRange& range : piece.outputs) run.outputs.push_back(take(range.n));
    MM2_RETURN_IF_ERROR(piece.run(run));
    done.note = std::move(run.note);
    Hasher hasher(HashKind::xxh3);
    for (size_t i = 0; i < piece.outputs.size(); ++i) {
      const OutputRange& range = piece.outputs[i];
      const RandomFile& file = file_of(range.tensor);
      const uint64_t begin = layout_.offset[range.tensor] + range.from;
      hasher.begin();
      for (uint64_t at = 0; at < range.n; at += kInCache) {
        const auto n = static_cast<size_t>(std::min<uint64_t>(kInCache, range.n - at));
        hasher.update(run.outputs[i].data() + at, n);
        MM2_RETURN_IF_ERROR(file.write_at(begin + at, run.outputs[i].data() + at, n));
      }
      done.digests.push_back(hasher.finish());
    }
    return {};
  }

  // Ranges that are neighbours in the file go out together.
  Status copy_piece(const Piece& piece, std::byte* memory, DonePiece& done) {
    uint32_t file = 0;
    uint64_t place = 0;  // of what waits in memory
    size_t waits = 0;
    const auto put = [&]() -> Status {
      if (waits == 0) return {};
      MM2_RETURN_IF_ERROR(folder_->file(file).write_at(place, memory, waits));
      place += waits;
      waits = 0;
      return {};
    };
    Hasher hasher(HashKind::xxh3);
    for (size_t i = 0; i < piece.copies.size(); ++i) {
      const OutputRange& range = piece.outputs[i];
      const CopyFrom& from = piece.copies[i];
      const uint64_t begin = layout_.offset[range.tensor] + range.from;
      if (layout_.file_of[range.tensor] != file || begin != place + waits) {
        MM2_RETURN_IF_ERROR(put());
        file = layout_.file_of[range.tensor];
        place = begin;
      }
      hasher.begin();
      for (uint64_t at = 0; at < range.n;) {
        if (waits == kInCache) MM2_RETURN_IF_ERROR(put());
        const auto n = static_cast<size_t>(std::min<uint64_t>(kInCache - waits, range.n - at));
        MM2_RETURN_IF_ERROR(from.source->read(*from.tensor, from.from + at, n, memory + waits));
        hasher.update(memory + waits, n);
        waits += n;
        at += n;
      }
      done.digests.push_back(hasher.finish());
    }
    return put();
  }

  Status report_progress(const Piece& piece) {
    if (!host_.progress) return {};
    const std::lock_guard lock(mutex_);
    progressed_ += piece.bytes_read;
    for (const OutputRange& range : piece.outputs) progressed_ += range.n;
    const std::string& subject = plan_.tensors[piece.outputs[0].tensor].name;
    if (host_.progress({kStageTool, progressed_, total_, subject})) return {};
    return error(Code::cancelled, "writing ", options_.out, ": stopped by the host; mm2 resume ",
                 options_.out, " continues it");
  }

  void stop(const Status& status) {
    const std::lock_guard lock(mutex_);
    if (failure_.ok()) failure_ = status;
    stopped_ = true;
  }

  Status conclude(Json& report) {
    std::vector<SideFile> files = plan_.files;
    if (plan_.finish) {
      std::vector<Json> notes;
      for (const DonePiece& piece : done_) notes.push_back(piece.note);
      MM2_RETURN_IF_ERROR(plan_.finish(notes, report, files));
    }
    MM2_ASSIGN_OR_RETURN(std::string manifest, manifest_text());
    files.push_back({"manifest.json", std::move(manifest), ""});
    if (layout_.files.size() > 1) {
      files.push_back({"model.safetensors.index.json", index_text(), ""});
    }
    for (const SideFile& file : files) {
      MM2_RETURN_IF_ERROR(folder_->write_side_file(file, *host_.source));
    }
    journal_.reset();
    return folder_->publish();
  }

  // A range that is a whole tensor has its digest already; tensors in several ranges are read again.
  Result<std::string> manifest_text() {
    std::vector<std::string> digests(plan_.tensors.size());
    for (size_t i = 0; i < plan_.pieces.size(); ++i) {
      for (size_t r = 0; r < done_[i].digests.size(); ++r) {
        const OutputRange& range = plan_.pieces[i].outputs[r];
        const OutputTensor& tensor = plan_.tensors[range.tensor];
        if (range.from == 0 && range.n == *tensor_bytes(tensor.shape, tensor.dtype)) {
          digests[range.tensor] = done_[i].digests[r];
        }
      }
    }
    std::vector<uint32_t> in_parts;
    for (size_t i = 0; i < digests.size(); ++i) {
      if (digests[i].empty()) in_parts.push_back(static_cast<uint32_t>(i));
    }
    executor_.run(static_cast<int32_t>(in_parts.size()), [&](int32_t task, int32_t) {
      const uint32_t tensor = in_parts[static_cast<size_t>(task)];
      const OutputTensor& head = plan_.tensors[tensor];
      Result<std::string> digest = digest_of(tensor, 0, *tensor_bytes(head.shape, head.dtype));
      if (digest.ok()) {
        digests[tensor] = *std::move(digest);
      } else {
        stop(digest.status());
      }
    });
    MM2_RETURN_IF_ERROR(failure_);
    Json tensors = Json::object();
    auto& members = static_cast<Json::object_t::Container&>(tensors.get_ref<Json::object_t&>());
    for (size_t i = 0; i < digests.size(); ++i) {
      members.emplace_back(plan_.tensors[i].name, std::move(digests[i]));
    }
    const Json manifest = {{"mm2", MM2_VERSION_TEXT},
                           {"verb", options_.verb},
                           {"recipe", plan_.recipe},
                           {"parents", plan_.parents},
                           {"algorithm", hash_name(HashKind::xxh3)},
                           {"tensors", std::move(tensors)}};
    return manifest.dump(1) + "\n";
  }

  std::string index_text() const {
    Json map = Json::object();
    auto& members = static_cast<Json::object_t::Container&>(map.get_ref<Json::object_t&>());
    for (size_t i = 0; i < plan_.tensors.size(); ++i) {
      members.emplace_back(plan_.tensors[i].name, layout_.files[layout_.file_of[i]].name);
    }
    const Json index = {{"metadata", {{"total_size", plan_.bytes()}}},
                        {"weight_map", std::move(map)}};
    return index.dump(2) + "\n";
  }

  const RandomFile& file_of(uint32_t tensor) const {
    return folder_->file(layout_.file_of[tensor]);
  }

  const WritePlan& plan_;
  const WriteOptions& options_;
  const Layout& layout_;
  Executor& executor_;
  const Host& host_;
  OutputFolder* folder_ = nullptr;
  std::unique_ptr<Journal> journal_;
  std::vector<DonePiece> done_;  // as plan_.pieces; without digests: not done
  std::atomic<size_t> next_ = 0;
  std::atomic<bool> stopped_ = false;
  std::mutex mutex_;  // guards what follows and the calls of host_.progress
  uint64_t progressed_ = 0, total_ = 0;
  Status failure_;
};

}  // namespace

Status write_checkpoint(const WritePlan& plan, const WriteOptions& options, Executor& executor,
                        const Host& host, Json* report) {
  MM2_ASSIGN_OR_RETURN(const Layout layout, lay_out(plan, options.max_shard));
  MM2_ASSIGN_OR_RETURN(OutputFolder folder,
                       OutputFolder::open(options.out, plan.inputs, plan.bytes(), options.resume));
  if (plan.largest_piece() > options.mem) {
    return error(Code::out_of_memory, "writing ", options.out, ": one piece of work needs ",
                 plan.largest_piece(), " bytes, mem allows ", options.mem);
  }
  Json made = {{"out", folder.path()}};
  made.update(plan_report(plan, layout));
  if (options.dry_run) {
    made["dry_run"] = true;
    *report = std::move(made);
    return {};
  }
  MM2_RETURN_IF_ERROR(
      folder.end(Run(plan, options, layout, executor, host).write(folder, made), options.resume));
  *report = std::move(made);
  return {};
}

}  // namespace mm2
