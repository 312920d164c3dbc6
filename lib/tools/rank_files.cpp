#include "tools/rank_files.h"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <mutex>

#include "format/atomic_writer.h"
#include "tensor/buffer.h"
#include "tools/megatron/torch_writer.h"
#include "tools/stream/hash.h"
#include "tools/stream/journal.h"
#include "tools/stream/output_folder.h"

namespace mm2 {
namespace {

namespace fs = std::filesystem;

constexpr size_t kReadBack = 4 << 20;

uint64_t bytes_of(const MovedTensor& tensor) {
  return tensor_bytes(tensor.shape, tensor.dtype).value_or(0);
}

// What decides every byte.
std::string digest_of(const std::vector<RankFile>& files, const WritePlan& plan) {
  std::string text =
      join(plan.recipe.dump(), "\n", plan.parents.dump(), "\n", input_stamps(plan.inputs));
  for (const RankFile& file : files) {
    text += file.path + "\n";
    for (const RankFile::Group& group : file.groups) {
      for (const MovedTensor& tensor : group.tensors) {
        text += join(group.name, " ", tensor.name, " ", dtype_name(tensor.dtype), " ",
                     tensor.shape.to_string(), "\n");
      }
    }
  }
  return xxh3_of(text);
}

Result<std::string> digest_of_file(const Host& host, const std::string& path) {
  MM2_ASSIGN_OR_RETURN(const auto file, host.source->open(path));
  MM2_ASSIGN_OR_RETURN(Buffer buffer, Buffer::make(host.allocator, kReadBack));
  Hasher hasher(HashKind::xxh3);
  hasher.begin();
  for (uint64_t at = 0; at < file->size(); at += kReadBack) {
    const auto n = static_cast<size_t>(std::min<uint64_t>(kReadBack, file->size() - at));
    MM2_RETURN_IF_ERROR(file->read_at(at, buffer.data(), n));
    hasher.update(buffer.data(), n);
  }
  return hasher.finish();
}

// A file that is hashed while it is written.
class HashedFile {
 public:
  static Result<std::unique_ptr<HashedFile>> create(const std::string& path) {
    std::unique_ptr<HashedFile> made(new HashedFile);
    MM2_ASSIGN_OR_RETURN(made->file_, AtomicFile::create(path));
    made->hasher_.begin();
    return made;
  }
  Status append(const void* data, size_t n) {
    hasher_.update(data, n);
    return file_->append(data, n);
  }
  Result<std::string> publish() {
    MM2_RETURN_IF_ERROR(file_->publish());
    return hasher_.finish();
  }

 private:
  HashedFile() : hasher_(HashKind::xxh3) {}
  std::unique_ptr<AtomicFile> file_;
  Hasher hasher_;
};

class RankWriter {
 public:
  RankWriter(const std::vector<RankFile>& files, const WritePlan& plan, const WriteOptions& options,
             Executor& executor, const Host& host)
      : files_(files), plan_(plan), options_(options), executor_(executor), host_(host) {
    for (const RankFile& file : files) total_ += file.bytes();
  }

  Status run(OutputFolder& folder) {
    folder_ = &folder;
    digests_.resize(files_.size());
    MM2_RETURN_IF_ERROR(start());
    MM2_RETURN_IF_ERROR(folder.make({}));
    const auto n_workers = std::clamp<uint64_t>(options_.mem / (worker_bytes() + 1), 1,
                                                static_cast<uint64_t>(executor_.n_workers()));
    executor_.run(static_cast<int32_t>(n_workers), [&](int32_t, int32_t) {
      for (size_t i = next_++; i < files_.size() && !stopped_; i = next_++) {
        if (!digests_[i].empty()) continue;
        const Status status = write_file(i);
        if (!status.ok()) stop(status);
      }
    });
    MM2_RETURN_IF_ERROR(failure_);
    MM2_RETURN_IF_ERROR(write_side_files());
    journal_.reset();
    return folder.publish();
  }

  uint64_t worker_bytes() const {
    uint64_t most = 0;
    for (const RankFile& file : files_) {
      for (const RankFile::Group& group : file.groups) {
        for (const MovedTensor& tensor : group.tensors) {
          most = std::max(most, slab_bytes(tensor) + scratch_of(tensor, moved_slab_rows(tensor)));
        }
      }
    }
    return most;
  }

 private:
  static uint64_t slab_bytes(const MovedTensor& tensor) {
    const auto n_rows = static_cast<uint64_t>(std::max<int64_t>(1, tensor.shape[0]));
    const auto slab = static_cast<uint64_t>(moved_slab_rows(tensor));
    return bytes_of(tensor) / n_rows * std::min(n_rows, slab);
  }

  Status start() {
    const std::string plan = digest_of(files_, plan_);
    MM2_ASSIGN_OR_RETURN(
        OpenedJournal opened,
        open_journal(folder_->journal(), {options_.verb, options_.options, plan}, options_.resume));
    journal_ = std::move(opened.journal);
    for (const DonePiece& done : opened.done) {
      if (done.piece >= files_.size() || done.digests.size() != 1) continue;
      const auto found = digest_of_file(host_, full_path(done.piece));
      if (!found.ok() || *found != done.digests[0]) continue;
      digests_[done.piece] = done.digests[0];
      progressed_ += files_[done.piece].bytes();
    }
    return {};
  }

  std::string full_path(size_t i) const { return join(folder_->partial(), "/", files_[i].path); }

  Status write_file(size_t i) {
    const RankFile& file = files_[i];
    const std::string path = full_path(i);
    std::error_code failed;
    const fs::path parent = fs::path(path).parent_path();
    fs::create_directories(parent, failed);
    if (failed) return errno_error("making " + parent.string(), failed.value());
    MM2_ASSIGN_OR_RETURN(const auto out, HashedFile::create(path));
    const auto append = [&](const void* data, size_t n) { return out->append(data, n); };
    MM2_RETURN_IF_ERROR(path.ends_with(".pt") ? write_torch(file, append)
                                              : write_safetensors(file, path, append));
    MM2_ASSIGN_OR_RETURN(std::string digest, out->publish());
    MM2_RETURN_IF_ERROR(journal_->add({i, {digest}, {}}));
    digests_[i] = std::move(digest);
    return {};
  }

  Status write_torch(const RankFile& file, const TorchWriter::Append& append) {
    TorchContents contents;
    contents.scalars = {{"checkpoint_version", 3.0}, {"iteration", 0}};
    for (const RankFile::Group& group : file.groups) {
      TorchContents::Group& to = contents.groups.emplace_back();
      to.name = group.name;
      for (const MovedTensor& tensor : group.tensors) {
        to.tensors.push_back({tensor.name, tensor.dtype, tensor.shape});
      }
    }
    MM2_ASSIGN_OR_RETURN(TorchWriter writer, TorchWriter::begin(contents, append));
    MM2_RETURN_IF_ERROR(
        write_data(file, [&](const void* data, size_t n) { return writer.append(data, n); }));
    return writer.finish();
  }

  Status write_safetensors(const RankFile& file, const std::string& path,
                           const TorchWriter::Append& append) {
    std::vector<OutputTensor> tensors;
    for (const RankFile::Group& group : file.groups) {
      for (const MovedTensor& tensor : group.tensors) {
        const bool several = file.groups.size() > 1;
        tensors.push_back({several ? join(group.name, ".", tensor.name) : tensor.name, tensor.dtype,
                           tensor.shape});
      }
    }
    MM2_ASSIGN_OR_RETURN(const std::string head,
                         safetensors_head(path, tensors, {{"format", "pt"}}));
    MM2_RETURN_IF_ERROR(append(head.data(), head.size()));
    return write_data(file, append);
  }

  Status write_data(const RankFile& file, const TorchWriter::Append& append) {
    MM2_ASSIGN_OR_RETURN(Buffer slab, Buffer::make(host_.allocator, most_slab(file)));
    MM2_ASSIGN_OR_RETURN(Buffer scratch, Buffer::make(host_.allocator, most_scratch(file)));
    for (const RankFile::Group& group : file.groups) {
      for (const MovedTensor& tensor : group.tensors) {
        const int64_t n_rows = tensor.shape[0], step = moved_slab_rows(tensor);
        const uint64_t row = bytes_of(tensor) / static_cast<uint64_t>(std::max<int64_t>(1, n_rows));
        for (int64_t at = 0; at < n_rows; at += step) {
          const int64_t n = std::min(step, n_rows - at);
          MM2_RETURN_IF_ERROR(carry_out(tensor, at, n, slab.data(), scratch.data()));
          const uint64_t bytes = row * static_cast<uint64_t>(n);
          MM2_RETURN_IF_ERROR(append(slab.data(), static_cast<size_t>(bytes)));
          MM2_RETURN_IF_ERROR(report_progress(bytes, tensor.name));
        }
      }
    }
    return {};
  }

  static size_t most_slab(const RankFile& file) {
    uint64_t most = 0;
    for (const RankFile::Group& group : file.groups) {
      for (const MovedTensor& tensor : group.tensors) most = std::max(most, slab_bytes(tensor));
    }
    return static_cast<size_t>(most);
  }
  static size_t most_scratch(const RankFile& file) {
    uint64_t most = 0;
    for (const RankFile::Group& group : file.groups) {
      for (const MovedTensor& tensor : group.tensors) {
        most = std::max(most, scratch_of(tensor, moved_slab_rows(tensor)));
      }
    }
    return static_cast<size_t>(most);
  }

  Status report_progress(uint64_t bytes, const std::string& subject) {
    if (stopped_) return error(Code::cancelled, "writing ", options_.out, ": stopped");
    if (!host_.progress) return {};
    const std::lock_guard lock(mutex_);
    progressed_ += bytes;
    if (host_.progress({kStageTool, progressed_, total_, subject})) return {};
    return error(Code::cancelled, "writing ", options_.out, ": stopped by the host; mm2 resume ",
                 options_.out, " continues it");
  }

  void stop(const Status& status) {
    const std::lock_guard lock(mutex_);
    if (failure_.ok()) failure_ = status;
    stopped_ = true;
  }

  Status write_side_files() {
    Json digests = Json::object();
    for (size_t i = 0; i < files_.size(); ++i) digests[files_[i].path] = digests_[i];
    const Json manifest = {{"mm2", MM2_VERSION_TEXT},
                           {"verb", options_.verb},
                           {"recipe", plan_.recipe},
                           {"parents", plan_.parents},
                           {"algorithm", hash_name(HashKind::xxh3)},
                           {"files", std::move(digests)}};
    std::vector<SideFile> all = plan_.files;
    all.push_back({"manifest.json", manifest.dump(1) + "\n", ""});
    for (const SideFile& side : all) {
      MM2_RETURN_IF_ERROR(folder_->write_side_file(side, *host_.source));
    }
    return {};
  }

  const std::vector<RankFile>& files_;
  const WritePlan& plan_;
  const WriteOptions& options_;
  Executor& executor_;
  const Host& host_;
  OutputFolder* folder_ = nullptr;
  std::unique_ptr<Journal> journal_;
  std::vector<std::string> digests_;  // of finished files
  std::atomic<size_t> next_{0};
  std::atomic<bool> stopped_{false};
  std::mutex mutex_;
  Status failure_;
  uint64_t progressed_ = 0, total_ = 0;
};

}  // namespace

uint64_t RankFile::bytes() const {
  uint64_t sum = 0;
  for (const Group& group : groups) {
    for (const MovedTensor& tensor : group.tensors) sum += bytes_of(tensor);
  }
  return sum;
}

Status write_rank_files(const std::vector<RankFile>& files, const WritePlan& plan,
                        const WriteOptions& options, Executor& executor, const Host& host,
                        Json* report) {
  uint64_t bytes = 0, n_tensors = 0;
  for (const RankFile& file : files) {
    bytes += file.bytes();
    for (const RankFile::Group& group : file.groups) n_tensors += group.tensors.size();
  }
  MM2_ASSIGN_OR_RETURN(OutputFolder folder,
                       OutputFolder::open(options.out, plan.inputs, bytes, options.resume));
  RankWriter writer(files, plan, options, executor, host);
  if (writer.worker_bytes() > options.mem) {
    return error(Code::out_of_memory, "writing ", options.out, ": one piece of work needs ",
                 writer.worker_bytes(), " bytes, mem allows ", options.mem);
  }
  Json made = {
      {"out", folder.path()}, {"files", files.size()}, {"tensors", n_tensors}, {"bytes", bytes}};
  if (options.dry_run) {
    made["dry_run"] = true;
    *report = std::move(made);
    return {};
  }
  MM2_RETURN_IF_ERROR(folder.end(writer.run(folder), options.resume));
  *report = std::move(made);
  return {};
}

}  // namespace mm2
