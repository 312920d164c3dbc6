// What an unfinished run has done: a file beside the output, one JSON line for the run and one for
// each finished piece. A line that a kill cut short is as if it had never been there.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "base/host.h"
#include "base/json.h"
#include "base/status.h"

namespace mm2 {

/// What was started.
struct JournalHead {
  std::string verb;
  Json options;
  std::string plan;  // plan_digest
};

struct DonePiece {
  size_t piece = 0;
  std::vector<std::string> digests;  // of its ranges
  Json note;
};

struct JournalContent {
  JournalHead head;
  std::vector<DonePiece> done;
};

/// Code::format names the line that cannot be one.
Result<JournalContent> read_journal(const std::string& path);

/// Appends; any thread.
class Journal {
 public:
  /// A new one with its head, which appears whole or not at all; one that is there is replaced.
  static Result<std::unique_ptr<Journal>> create(const std::string& path, const JournalHead& head);
  /// One to be continued: whatever follows its last whole line is cut off.
  static Result<std::unique_ptr<Journal>> append_to(const std::string& path);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  Status add(const DonePiece& piece);

 private:
  Journal() = default;
  Status write_line(const Json& line);

  std::mutex mutex_;
  std::string path_;
  int descriptor_ = -1;
};

struct OpenedJournal {
  std::unique_ptr<Journal> journal;
  std::vector<DonePiece> done;  // of the run that is continued; to be compared with what is there
};

/// A new journal, or with `resume` the one that is there: Code::format when another plan was begun.
Result<OpenedJournal> open_journal(const std::string& path, const JournalHead& head, bool resume);

/// After these failures the work done so far is worth keeping; after others it is not.
bool keeps_unfinished(Code code);

/// Sizes and times of change of input files, and of the files in input folders: part of a plan's
/// digest, so that work begun on one input is not continued on another of the same shapes.
std::string input_stamps(std::span<const std::string> inputs);

}  // namespace mm2
