// Every file of tests/data/broken: refused with a sentence that names what its case asks for, or
// accepted.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cctype>
#include <fstream>
#include <memory>

#include "base/json.h"
#include "format/checkpoint.h"
#include "format/names.h"
#include "quant/check.h"

using namespace mm2;

namespace {

const std::string kBroken = std::string(MM2_TEST_DATA) + "/broken/";

// Refuses what no damaged file may ask for.
class FewMegabytes final : public Allocator {
 public:
  void* allocate(size_t size, size_t alignment) noexcept override {
    largest = std::max(largest, size);
    return size > (4u << 20) ? nullptr : inner_->allocate(size, alignment);
  }
  void release(void* pointer, size_t size, size_t alignment) noexcept override {
    inner_->release(pointer, size, alignment);
  }
  size_t largest = 0;

 private:
  std::shared_ptr<Allocator> inner_ = default_allocator();
};

Status open_config(const std::string& path, const Host& host, ModelConfig& config,
                   QuantConfig& quant) {
  MM2_ASSIGN_OR_RETURN(config, load_config(path, host));
  MM2_ASSIGN_OR_RETURN(quant, parse_quant_config(config.quantization, path));
  return {};
}

Status open_model(const std::string& path, const Host& host) {
  ModelConfig config;
  QuantConfig quant;
  MM2_RETURN_IF_ERROR(open_config(path, host, config, quant));
  MM2_ASSIGN_OR_RETURN(const std::shared_ptr<Checkpoint> checkpoint, Checkpoint::open(path, host));
  return check_weights(locate_all(config, *checkpoint), *checkpoint, quant).status();
}

Status open_case(const std::string& kind, const std::string& path, const Host& host) {
  if (kind == "safetensors") return SafetensorsFile::open(path, host).status();
  if (kind == "index") return Checkpoint::open(path, host).status();
  ModelConfig config;
  QuantConfig quant;
  if (kind == "config") return open_config(path, host, config, quant);
  REQUIRE(kind == "model");
  return open_model(path, host);
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return text;
}

// "a or b": one of them; otherwise the words themselves.
bool mentions(const std::string& message, const std::string& wanted) {
  for (size_t from = 0; from <= wanted.size();) {
    const size_t end = std::min(wanted.find(" or ", from), wanted.size());
    if (lower(message).find(lower(wanted.substr(from, end - from))) != std::string::npos)
      return true;
    from = end + 4;
  }
  return false;
}

}  // namespace

TEST_CASE("broken files: each is refused with what its case asks for, or accepted") {
  std::ifstream in(kBroken + "cases.json");
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  const Result<Json> cases = parse_json(text, "cases.json");
  REQUIRE(cases.ok());
  REQUIRE(cases->at("cases").size() == 42);
  for (const Json& one : cases->at("cases")) {
    const std::string path = one.at("path").get<std::string>();
    Host host;
    const auto memory = std::make_shared<FewMegabytes>();
    host.allocator = memory;
    const Status status = open_case(one.at("kind").get<std::string>(), kBroken + path, host);
    INFO(path << ": " << status.message());
    CHECK(memory->largest < 1u << 20);
    if (one.at("expect") == "ok") {
      CHECK(status.ok());
      continue;
    }
    REQUIRE_FALSE(status.ok());
    CHECK(status.code() != Code::internal);
    CHECK(mentions(status.message(), path.substr(0, path.find('.'))));
    for (const Json& wanted : one.at("message_should_name")) {
      INFO(wanted.dump());
      // A position may be told as line, column or byte.
      const std::string what =
          wanted == "position or line of the error" ? "line or byte" : wanted.get<std::string>();
      CHECK(mentions(status.message(), what));
    }
  }
}
