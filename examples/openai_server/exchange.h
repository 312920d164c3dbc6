// One request on its way: from the scheduler's channel, through the outputs of its choices, to the
// client.
#pragma once

#include <deque>

#include "answer.h"
#include "http.h"

namespace server {

class Exchange {
 public:
  Exchange(Service& service, PeerWatcher& watcher, int descriptor, Generation generation,
           std::unique_ptr<Answer> answer);
  ~Exchange();
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  /// Hands the jobs to the scheduler.
  std::optional<Refusal> submit();
  bool streams() const { return generation_.stream; }

  /// Writes the next events; waits for them. False when the client is gone.
  bool pump(httplib::DataSink& sink);
  /// Waits for all of it. Null when the client is gone. Throws BadRequest: with status 500 for a
  /// failure of the engine, with 400 for an answer too large to be sent at once.
  Json wait();

 private:
  std::string write_new_events();
  std::string first_failure() const;
  bool all_over() const;
  Usage usage() const;
  std::string echoed(int32_t choice) const;

  Service& service_;
  PeerWatcher& watcher_;
  const int descriptor_;
  Generation generation_;
  const int32_t n_choices_;
  std::unique_ptr<Answer> answer_;
  std::shared_ptr<Channel> channel_;
  std::deque<ChoiceOutput> outputs_;
  std::vector<TokenEvent> events_;
  bool begun_ = false;
};

}  // namespace server
