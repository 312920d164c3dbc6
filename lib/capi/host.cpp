#include "capi/host.h"

#include <memory>
#include <string>
#include <utility>

#include "base/executor.h"
#include "capi/guard.h"
#include "capi/structs.h"

namespace mm2::capi {
namespace {

class HostAllocator final : public Allocator {
 public:
  explicit HostAllocator(const mm2_allocator& host) : host_(host) {}
  void* allocate(size_t size, size_t alignment) noexcept override {
    return host_.allocate(host_.user_data, size, alignment);
  }
  void release(void* pointer, size_t size, size_t alignment) noexcept override {
    host_.release(host_.user_data, pointer, size, alignment);
  }

 private:
  mm2_allocator host_;
};

class HostExecutor final : public Executor {
 public:
  explicit HostExecutor(const mm2_executor& host) : host_(host) {}
  int32_t n_workers() const override { return host_.n_workers; }
  void parallel_for(int32_t n_tasks, Task task, void* context) override {
    host_.parallel_for(host_.user_data, n_tasks, task, context);
  }

 private:
  mm2_executor host_;
};

/// What a callback of the host said, in its own words where it has any.
Status host_failure(mm2_status status, const mm2_error& said, const std::string& doing) {
  constexpr Code kPossible[] = {
      Code::cancelled, Code::invalid_argument, Code::out_of_memory, Code::io,
      Code::format,    Code::unsupported,      Code::not_found,     Code::busy};
  Code code = Code::io;
  for (const Code possible : kPossible) {
    if (status == static_cast<mm2_status>(possible)) code = possible;
  }
  const char* message = said.message[0] != '\0' ? said.message : mm2_status_name(status);
  Status failure = error(code, doing, ": the host's source says: ", message);
  if (said.domain > MM2_DOMAIN_MPI) return failure;
  return std::move(failure).with_native(static_cast<Domain>(said.domain), said.native_code);
}

mm2_error empty_error() {
  mm2_error err{};
  err.struct_size = sizeof err;
  return err;
}

class HostFile final : public SourceFile {
 public:
  HostFile(const mm2_source& host, std::string name) : host_(host), name_(std::move(name)) {}
  HostFile(const HostFile&) = delete;
  HostFile& operator=(const HostFile&) = delete;
  ~HostFile() override {
    if (open_ && host_.close != nullptr) host_.close(host_.user_data, file_);
  }

  Status open() {
    mm2_error said = empty_error();
    const mm2_status status = host_.open(host_.user_data, name_.c_str(), &file_, &size_, &said);
    if (status != MM2_OK) return failure(status, said, "opening ");
    open_ = true;
    if (host_.map != nullptr)
      mapped_ = static_cast<const std::byte*>(host_.map(host_.user_data, file_));
    return {};
  }

  uint64_t size() const override { return size_; }
  Status read_at(uint64_t offset, void* to, size_t n) const override {
    if (n > size_ || offset > size_ - n)
      return error(Code::format, name_, ": ", n, " bytes at ", offset, " wanted, the file has ",
                   size_);
    mm2_error said = empty_error();
    const mm2_status status = host_.read_at(host_.user_data, file_, offset, to, n, &said);
    return status == MM2_OK ? Status() : failure(status, said, "reading ");
  }
  const std::byte* map() const override { return mapped_; }

 private:
  Status failure(mm2_status status, mm2_error& said, const char* doing) const {
    said.message[sizeof said.message - 1] = '\0';
    return host_failure(status, said, doing + name_);
  }

  mm2_source host_;
  std::string name_;
  void* file_ = nullptr;
  uint64_t size_ = 0;
  bool open_ = false;
  const std::byte* mapped_ = nullptr;
};

class HostSource final : public Source {
 public:
  explicit HostSource(const mm2_source& host) : host_(host) {}
  Result<std::shared_ptr<SourceFile>> open(const std::string& name) const override {
    auto file = std::make_shared<HostFile>(host_, name);
    MM2_RETURN_IF_ERROR(file->open());
    return std::shared_ptr<SourceFile>(std::move(file));
  }

 private:
  mm2_source host_;
};

Status read_allocator(const mm2_host& from, Host& to) {
  if (from.allocator == nullptr) return {};
  MM2_ASSIGN_OR_RETURN(const mm2_allocator a, read_struct(from.allocator, "host.allocator"));
  MM2_RETURN_IF_ERROR(need_range("host.allocator.reserved", a.reserved, 0, 0));
  if (a.allocate == nullptr || a.release == nullptr)
    return error(Code::invalid_argument, "host.allocator needs both allocate and release");
  to.allocator = std::make_shared<HostAllocator>(a);
  return {};
}

Status read_executor(const mm2_host& from, Host& to) {
  if (from.executor == nullptr) return {};
  MM2_ASSIGN_OR_RETURN(const mm2_executor e, read_struct(from.executor, "host.executor"));
  MM2_RETURN_IF_ERROR(need_range("host.executor.n_workers", e.n_workers, 1, 1024));
  if (e.parallel_for == nullptr)
    return error(Code::invalid_argument, "host.executor needs parallel_for");
  to.executor = std::make_shared<HostExecutor>(e);
  return {};
}

Status read_log(const mm2_host& from, Host& to) {
  if (from.log == nullptr) return {};
  MM2_ASSIGN_OR_RETURN(const mm2_log log, read_struct(from.log, "host.log"));
  MM2_RETURN_IF_ERROR(need_range("host.log.level", log.level, 0, MM2_LOG_TRACE));
  if (log.write == nullptr) return error(Code::invalid_argument, "host.log needs write");
  const int32_t level = log.level == 0 ? MM2_LOG_WARNING : log.level;
  to.log = Log(static_cast<LogLevel>(level),
               [log](LogLevel at, std::string_view component, std::string_view text) {
                 log.write(log.user_data, static_cast<int32_t>(at), std::string(component).c_str(),
                           text.data(), text.size());
               });
  return {};
}

Status read_source(const mm2_host& from, Host& to) {
  if (from.source == nullptr) return {};
  MM2_ASSIGN_OR_RETURN(const mm2_source source, read_struct(from.source, "host.source"));
  MM2_RETURN_IF_ERROR(need_range("host.source.reserved", source.reserved, 0, 0));
  if (source.open == nullptr || source.read_at == nullptr)
    return error(Code::invalid_argument, "host.source needs both open and read_at");
  to.source = std::make_shared<HostSource>(source);
  return {};
}

void read_progress(const mm2_host& from, Host& to) {
  if (from.progress == nullptr) return;
  to.progress = [call = from.progress, user_data = from.progress_user_data](const Progress& p) {
    const std::string subject(p.subject);
    mm2_progress report{};
    report.struct_size = sizeof report;
    report.stage = p.stage;
    report.done = p.done;
    report.total = p.total;
    report.subject = subject.c_str();
    return call(user_data, &report) == 0;
  };
}

}  // namespace

Result<Host> read_host(const mm2_host* host) {
  MM2_ASSIGN_OR_RETURN(const mm2_host from, read_struct(host, "host"));
  MM2_RETURN_IF_ERROR(need_range("host.reserved", from.reserved, 0, 0));
  Host to;
  MM2_RETURN_IF_ERROR(read_allocator(from, to));
  MM2_RETURN_IF_ERROR(read_executor(from, to));
  MM2_RETURN_IF_ERROR(read_log(from, to));
  MM2_RETURN_IF_ERROR(read_source(from, to));
  read_progress(from, to);
  return to;
}

}  // namespace mm2::capi

using mm2::capi::init_struct;

mm2_status mm2_allocator_init(mm2_allocator* allocator, size_t size) {
  return init_struct(allocator, size);
}

mm2_status mm2_executor_init(mm2_executor* executor, size_t size) {
  return init_struct(executor, size);
}

mm2_status mm2_log_init(mm2_log* log, size_t size) {
  return init_struct(log, size);
}

mm2_status mm2_source_init(mm2_source* source, size_t size) {
  return init_struct(source, size);
}

mm2_status mm2_host_init(mm2_host* host, size_t size) {
  return init_struct(host, size);
}
