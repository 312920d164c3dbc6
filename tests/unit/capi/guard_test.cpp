#include "capi/guard.h"

#include <cstring>
#include <new>
#include <stdexcept>
#include <string>

#include <catch2/catch.hpp>

using mm2::Code;
using mm2::Status;
using mm2::capi::fill_error;
using mm2::capi::guarded;

namespace {

mm2_error fresh() {
  mm2_error err;
  REQUIRE(mm2_error_init(&err, sizeof err) == MM2_OK);
  return err;
}

}  // namespace

TEST_CASE("guard: whatever a body throws becomes a code and a sentence") {
  mm2_error err = fresh();
  CHECK(guarded(&err, []() -> Status { throw std::bad_alloc(); }) == MM2_E_OUT_OF_MEMORY);
  CHECK(err.code == MM2_E_OUT_OF_MEMORY);
  CHECK(guarded(&err, []() -> Status { throw std::length_error("x"); }) == MM2_E_OUT_OF_MEMORY);
  CHECK(guarded(&err, []() -> Status { throw std::runtime_error("lost"); }) == MM2_E_INTERNAL);
  CHECK(std::string(err.message) == "lost");
  CHECK(guarded(&err, []() -> Status { throw 7; }) == MM2_E_INTERNAL);
  CHECK(guarded(nullptr, []() -> Status { throw 7; }) == MM2_E_INTERNAL);
}

TEST_CASE("guard: a status crosses the border whole, success leaves the error alone") {
  mm2_error err = fresh();
  err.code = 12;
  CHECK(guarded(&err, [] { return Status(); }) == MM2_OK);
  CHECK(err.code == 12);
  const auto failing = [] {
    return mm2::error(Code::io, "reading a: no").with_native(mm2::Domain::system_errno, 5);
  };
  CHECK(guarded(&err, failing) == MM2_E_IO);
  CHECK(err.code == MM2_E_IO);
  CHECK(err.domain == MM2_DOMAIN_ERRNO);
  CHECK(err.native_code == 5);
  CHECK(std::string(err.message) == "reading a: no");
}

TEST_CASE("guard: every code of the library has the number and the name that the header gives it") {
  const std::pair<Code, const char*> names[] = {{Code::ok, "MM2_OK"},
                                                {Code::kv_exhausted, "MM2_KV_EXHAUSTED"},
                                                {Code::cancelled, "MM2_CANCELLED"},
                                                {Code::no_more, "MM2_NO_MORE"},
                                                {Code::invalid_argument, "MM2_E_INVALID_ARGUMENT"},
                                                {Code::out_of_memory, "MM2_E_OUT_OF_MEMORY"},
                                                {Code::io, "MM2_E_IO"},
                                                {Code::format, "MM2_E_FORMAT"},
                                                {Code::unsupported, "MM2_E_UNSUPPORTED"},
                                                {Code::not_found, "MM2_E_NOT_FOUND"},
                                                {Code::budget, "MM2_E_BUDGET"},
                                                {Code::numeric, "MM2_E_NUMERIC"},
                                                {Code::busy, "MM2_E_BUSY"},
                                                {Code::check_failed, "MM2_E_CHECK_FAILED"},
                                                {Code::device, "MM2_E_DEVICE"},
                                                {Code::device_lost, "MM2_E_DEVICE_LOST"},
                                                {Code::forked, "MM2_E_FORKED"},
                                                {Code::internal, "MM2_E_INTERNAL"}};
  for (const auto& [code, name] : names)
    CHECK(std::string(mm2_status_name(static_cast<mm2_status>(code))) == name);
}

TEST_CASE("guard: a long message is cut between characters") {
  for (size_t n_ascii = 470; n_ascii < 485; ++n_ascii) {
    std::string message(n_ascii, 'a');
    for (int i = 0; i < 20; ++i) message += "\xE2\x82\xAC";  // the euro sign
    mm2_error err = fresh();
    fill_error(&err, MM2_E_FORMAT, 0, 0, message);
    const std::string got = err.message;
    CHECK(got.size() <= 479);
    CHECK(got.size() >= 477);
    CHECK(got == message.substr(0, got.size()));
    CHECK((got.size() - std::min(got.size(), n_ascii)) % 3 == 0);
  }
}

TEST_CASE("guard: an error struct of an older caller gets what it has room for") {
  unsigned char room[sizeof(mm2_error)];
  std::memset(room, 0x55, sizeof room);
  auto* err = reinterpret_cast<mm2_error*>(room);
  err->struct_size = 20;
  fill_error(err, MM2_E_FORMAT, 0, 0, "abcdef");
  CHECK(err->code == MM2_E_FORMAT);
  CHECK(std::string(err->message) == "abc");
  CHECK(room[20] == 0x55);
}
