// Templates that want too much: they end in a result, an error of Jinja2's or a budget, within the
// memory and the stack that they are allowed. Counts every byte that is allocated.
#include <pthread.h>

#include <functional>

#include <catch2/catch.hpp>

#include "chat/chat_template.h"
#include "chat/document.h"
#include "chat/jinja/template.h"
#include "support/counted_memory.h"
#include "unit/chat/hostile_templates.h"

using namespace mm2;
using namespace mm2::chat;
using counted_memory::held;
using counted_memory::most;

namespace {

// Stack frames are several times as large under sanitizers.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__OPTIMIZE__)
constexpr size_t kStack = size_t{2} << 20;
#else
constexpr size_t kStack = size_t{128} << 10;
#endif

Result<std::string> run(const std::string& source, const jinja::Limits& limits = {}) {
  MM2_ASSIGN_OR_RETURN(const auto program, jinja::parse_program(source));
  Value nothing;
  nothing.kind = Value::Kind::object;
  MM2_ASSIGN_OR_RETURN(auto out, jinja::render(*program, nothing, limits, {}));
  return std::move(out.text);
}

bool is_expected(const Status& status) {
  return status.ok() || status.code() == Code::budget || status.code() == Code::format ||
         status.code() == Code::invalid_argument;
}

// In a thread of that stack and nothing more: an overflow meets the guard page and ends the test.
void in_small_thread(const std::function<void()>& work) {
  pthread_attr_t attributes;
  REQUIRE(pthread_attr_init(&attributes) == 0);
  REQUIRE(pthread_attr_setstacksize(&attributes, kStack) == 0);
  pthread_t thread;
  const auto enter = [](void* context) -> void* {
    (*static_cast<const std::function<void()>*>(context))();
    return nullptr;
  };
  REQUIRE(pthread_create(&thread, &attributes, enter, const_cast<std::function<void()>*>(&work)) ==
          0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
}

}  // namespace

TEST_CASE("jinja: every hostile program ends, with less than 64 MB held") {
  const auto programs = hostile::programs();
  REQUIRE(programs.size() > 650);
  size_t n_budget = 0, n_wrong = 0;
  for (const auto& [name, source] : programs) {
    const size_t before = held;
    most = before;
    Status status;
    {
      const auto out = run(source);
      status = out.status();
    }
    n_budget += status.code() == Code::budget;
    const double megabytes = static_cast<double>(most - before) / (1 << 20);
    if (megabytes < 64 && is_expected(status)) continue;
    ++n_wrong;
    UNSCOPED_INFO(name << ": " << megabytes << " MB, " << status.message().substr(0, 200));
  }
  CHECK(n_wrong == 0);
  CHECK(n_budget > 100);
}

TEST_CASE("jinja: every hostile program fits into a stack of 128 KiB") {
  const auto programs = hostile::programs();
  size_t n_done = 0;
  in_small_thread([&] {
    for (const auto& [name, source] : programs) n_done += is_expected(run(source).status());
  });
  CHECK(n_done == programs.size());
}

TEST_CASE("jinja: values nested as deep as JSON may be fit into a stack of 128 KiB") {
  std::string text = "{\"a\": ";
  for (int i = 0; i < kMaxValueDepth - 1; ++i) text += i % 2 ? "[" : "{\"k\": ";
  text += "1";
  for (int i = kMaxValueDepth - 2; i >= 0; --i) text += i % 2 ? "]" : "}";
  text += "}";
  size_t n_done = 0;
  in_small_thread([&] {
    const auto document = parse_document(text, "it");
    if (!document.ok()) return;
    for (const char* source :
         {"{{ a|tojson }}", "{{ a }}", "{{ a == a }}", "{{ [a, a]|tojson(indent=1) }}",
          "{{ a|tojson(sort_keys=true) }}",
          "{% for x in a recursive %}{{ loop(a[x]) }}{% endfor %}", "{{ a|string|length }}",
          "{{ {(a|list)[0]: a} }}", "{{ [a]|map('tojson')|list }}"}) {
      const auto program = jinja::parse_program(source);
      if (!program.ok()) return;
      n_done += is_expected(jinja::render(**program, **document, {}, {}).status());
    }
    const auto chat = ChatTemplate::parse("{{ messages }}", "t");
    n_done += is_expected((*chat)->render("{\"messages\": [" + text + "]}").status());
  });
  CHECK(n_done == 10);
}

TEST_CASE("jinja: a budget that a program just meets is enough, one less is not") {
  const std::string source =
      "{% for i in range(300) %}{{ [i, i|string]|tojson }}{% endfor %}{{ ('x' * 50000)|length }}";
  const auto passes = [&](auto limit, uint64_t value) {
    jinja::Limits limits;
    limits.*limit = static_cast<std::decay_t<decltype(limits.*limit)>>(value);
    const auto out = run(source, limits);
    if (!out.ok()) CHECK(out.status().code() == Code::budget);
    return out.ok();
  };
  const auto least = [&](auto limit, uint64_t high) {
    uint64_t low = 0;
    REQUIRE(passes(limit, high));
    while (low < high) {
      const uint64_t middle = (low + high) / 2;
      passes(limit, middle) ? high = middle : low = middle + 1;
    }
    return low;
  };
  const uint64_t steps = least(&jinja::Limits::max_steps, 100000);
  CHECK(steps > 2000);
  CHECK(steps < 10000);
  const uint64_t memory = least(&jinja::Limits::max_memory_bytes, 1 << 24);
  CHECK(memory > 50000);
  CHECK(memory < 200000);
  CHECK(least(&jinja::Limits::max_output_bytes, 1 << 20) == run(source)->size());
  CHECK(least(&jinja::Limits::max_depth, 200) < 10);
}

TEST_CASE("jinja: what a run held is given back, whatever it ended in") {
  const auto rounds = [](int n) {
    for (int i = 0; i < n; ++i) {
      for (const char* source :
           {"{% set n = namespace(a=1) %}{% set n.a = [n, n] %}{{ raise_exception('x') }}",
            "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
            "{% set n = namespace() %}{% macro f() %}{{ n }}{% endmacro %}{% set n.f = f %}{{ "
            "n.f() }}",
            "{% for i in range(100) %}{% macro f(x) %}{{ i }}{% endmacro %}{{ f(1) }}{% endfor %}",
            "{{ 'x' * 10 ** 9 }}", "{{ (1, 2, [3])|tojson }}"})
        (void)run(source).ok();
    }
  };
  rounds(3);
  const size_t before = held;
  rounds(20);
  CHECK(held == before);
}
