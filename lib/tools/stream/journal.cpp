#include "tools/stream/journal.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "tools/stream/output_folder.h"

namespace mm2 {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxJournal = uint64_t{4} << 30;

Result<DonePiece> read_piece(const Json& line, const std::string& what) {
  DonePiece done;
  const auto piece = line.find("piece"), digests = line.find("digests");
  if (piece == line.end() || !piece->is_number_unsigned() || digests == line.end() ||
      !digests->is_array()) {
    return error(Code::format, what, ": no piece with its digests");
  }
  done.piece = piece->get<size_t>();
  for (const Json& digest : *digests) {
    if (!digest.is_string()) return error(Code::format, what, ": a digest is no string");
    done.digests.push_back(digest.get<std::string>());
  }
  if (line.contains("note")) done.note = line["note"];
  return done;
}

// The end of the last whole line.
uint64_t whole_lines(std::string_view text) {
  const size_t last = text.find_last_of('\n');
  return last == text.npos ? 0 : last + 1;
}

}  // namespace

Result<JournalContent> read_journal(const std::string& path) {
  MM2_ASSIGN_OR_RETURN(const std::string text, read_all(*file_system_source(), path, kMaxJournal));
  JournalContent content;
  std::string_view rest = std::string_view(text).substr(0, whole_lines(text));
  for (size_t n = 1; !rest.empty(); ++n) {
    const size_t end = rest.find('\n');
    const std::string what = join(path, ": line ", n);
    MM2_ASSIGN_OR_RETURN(const Json line, parse_json(rest.substr(0, end), what));
    rest.remove_prefix(end + 1);
    if (!line.is_object()) return error(Code::format, what, ": no object");
    if (n > 1) {
      MM2_ASSIGN_OR_RETURN(DonePiece done, read_piece(line, what));
      content.done.push_back(std::move(done));
      continue;
    }
    const auto verb = line.find("verb"), options = line.find("options"), plan = line.find("plan");
    if (line.value("mm2_journal", Json()) != 1 || verb == line.end() || !verb->is_string() ||
        options == line.end() || !options->is_object() || plan == line.end() ||
        !plan->is_string()) {
      return error(Code::format, what, ": not the beginning of a journal of this version");
    }
    content.head = {verb->get<std::string>(), *options, plan->get<std::string>()};
  }
  if (content.head.verb.empty()) return error(Code::format, path, ": an empty journal");
  return content;
}

Result<std::unique_ptr<Journal>> Journal::create(const std::string& path, const JournalHead& head) {
  const Json line = {
      {"mm2_journal", 1}, {"verb", head.verb}, {"options", head.options}, {"plan", head.plan}};
  // Under another name first: a journal has its head or is not there. The name is always the same,
  // so that a kill leaves at most one of them.
  const std::string fresh = path + ".new";
  MM2_ASSIGN_OR_RETURN(const RandomFile file, RandomFile::open(fresh, 0));
  const std::string text = line.dump() + "\n";
  MM2_RETURN_IF_ERROR(file.write_at(0, text.data(), text.size()));
  if (rename(fresh.c_str(), path.c_str()) != 0) return errno_error("writing " + path, errno);
  return append_to(path);
}

Result<std::unique_ptr<Journal>> Journal::append_to(const std::string& path) {
  MM2_ASSIGN_OR_RETURN(const std::string text, read_all(*file_system_source(), path, kMaxJournal));
  std::unique_ptr<Journal> journal(new Journal);
  journal->path_ = path;
  journal->descriptor_ = open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (journal->descriptor_ < 0) return errno_error("writing " + path, errno);
  if (ftruncate(journal->descriptor_, static_cast<off_t>(whole_lines(text))) != 0) {
    return errno_error("writing " + path, errno);
  }
  return journal;
}

Journal::~Journal() {
  if (descriptor_ >= 0) close(descriptor_);
}

Status Journal::write_line(const Json& line) {
  const std::string text = line.dump() + "\n";
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t put = write(descriptor_, text.data() + done, text.size() - done);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return errno_error("writing " + path_, errno);
    done += static_cast<size_t>(put);
  }
  return {};
}

Result<OpenedJournal> open_journal(const std::string& path, const JournalHead& head, bool resume) {
  OpenedJournal opened;
  if (!resume) {
    MM2_ASSIGN_OR_RETURN(opened.journal, Journal::create(path, head));
    return opened;
  }
  MM2_ASSIGN_OR_RETURN(JournalContent content, read_journal(path));
  if (content.head.plan != head.plan) {
    return error(Code::format, "resuming by ", path,
                 ": the plan is not the one that was begun; an input or the version of mm2 has "
                 "changed");
  }
  opened.done = std::move(content.done);
  MM2_ASSIGN_OR_RETURN(opened.journal, Journal::append_to(path));
  return opened;
}

bool keeps_unfinished(Code code) {
  return code == Code::cancelled || code == Code::io || code == Code::out_of_memory;
}

std::string input_stamps(std::span<const std::string> inputs) {
  std::vector<std::string> stamps;
  const auto add = [&](const fs::path& path) {
    std::error_code failed;
    const auto size = fs::file_size(path, failed);
    if (failed) return;  // not of the file system: a host's own source
    const auto time = fs::last_write_time(path, failed).time_since_epoch().count();
    stamps.push_back(join(path.filename().string(), " ", size, " ", static_cast<int64_t>(time)));
  };
  for (const std::string& input : inputs) {
    std::error_code failed;
    if (fs::is_regular_file(input, failed)) add(input);
    for (fs::directory_iterator at(input, failed), end; !failed && at != end;
         at.increment(failed)) {
      std::error_code unknown;
      if (at->is_regular_file(unknown)) add(at->path());
    }
  }
  std::sort(stamps.begin(), stamps.end());
  std::string text;
  for (const std::string& stamp : stamps) text += stamp + "\n";
  return text;
}

Status Journal::add(const DonePiece& piece) {
  Json line = {{"piece", piece.piece}, {"digests", piece.digests}};
  if (!piece.note.is_null()) line["note"] = piece.note;
  const std::lock_guard lock(mutex_);
  return write_line(line);
}

}  // namespace mm2
