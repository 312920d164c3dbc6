// Templates made to cost more than they should: shared by the tests and the benchmark.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace hostile {

inline std::string repeated(const std::string& unit, size_t n) {
  std::string out;
  out.reserve(unit.size() * n);
  for (size_t i = 0; i < n; ++i) out += unit;
  return out;
}

/// What a program does, and the program.
using Program = std::pair<std::string, std::string>;

inline void add_recursion(std::vector<Program>& out) {
  out.emplace_back("self", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}");
  out.emplace_back(
      "mutual",
      "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}");
  out.emplace_back("with argument",
                   "{% macro f(x) %}{{ f(x ~ 'a') }}{{ f(x ~ 'b') }}{% endmacro %}{{ f('') }}");
  out.emplace_back(
      "call", "{% macro f() %}{% call f() %}{{ caller() }}{% endcall %}{% endmacro %}{{ f() }}");
  out.emplace_back("loop", "{% for x in [[1]] recursive %}{{ loop([[1]]) }}{% endfor %}");
  out.emplace_back(
      "loop twice",
      "{% for x in [1, 2] recursive %}{{ loop([1, 2]) }}{{ loop([1, 2]) }}{% endfor %}");
  out.emplace_back(
      "filter block",
      "{% macro f(x) %}{% filter upper %}{{ f(x) }}{% endfilter %}{% endmacro %}{{ f(1) }}");
  out.emplace_back(
      "expression in macro",
      "{% macro f() %}{% if 1 %}{% for i in [1] %}{{ (1 + (2 ~ f()|string)|length)|string }}"
      "{% endfor %}{% endif %}{% endmacro %}{{ f() }}");
  out.emplace_back("default argument", "{% macro f(x=f()) %}{{ x }}{% endmacro %}{{ f() }}");
}

inline void add_loops(std::vector<Program>& out) {
  out.emplace_back(
      "nested ranges",
      "{% for i in range(10000) %}{% for j in range(10000) %}{% endfor %}{% endfor %}");
  out.emplace_back(
      "nested ranges with output",
      "{% for i in range(10000) %}{% for j in range(10000) %}x{% endfor %}{% endfor %}");
  out.emplace_back("range 10^18", "{% for i in range(10**18) %}x{% endfor %}");
  out.emplace_back("range 10^18 down", "{% for i in range(10**18, 0, -1) %}x{% endfor %}");
  out.emplace_back("range step", "{{ range(0, 10**18, 10**17)|list }}");
  out.emplace_back("sum of ranges",
                   "{% for i in range(100000) %}{% set x = range(100000)|sum %}{% endfor %}");
  out.emplace_back("list of ranges",
                   "{% for i in range(100000) %}{% set x = range(100000)|list %}{% endfor %}");
  out.emplace_back("loop filter",
                   "{% for i in range(100000) if range(100000)|sum > i %}x{% endfor %}");
  out.emplace_back(
      "in range list",
      "{% set l = range(100000)|list %}{% for i in range(100000) %}{{ -1 in l }}{% endfor %}");
  out.emplace_back("macro per turn",
                   "{% for i in range(100000) %}{% macro f() %}x{% endmacro %}{% endfor %}");
  out.emplace_back("namespace per turn",
                   "{% for i in range(100000) %}{% set n = namespace(a=i) %}{% endfor %}");
  out.emplace_back(
      "sorts",
      "{% for i in range(10000) %}{% set x = range(10000)|sort(reverse=true) %}{% endfor %}");
  out.emplace_back("unique",
                   "{% for i in range(1000) %}{% set x = range(100000)|unique|list %}{% endfor %}");
  out.emplace_back(
      "group",
      "{% for i in range(1000) %}{% set x = range(100000)|groupby('a')|list %}{% endfor %}");
}

inline void add_growth(std::vector<Program>& out) {
  const auto doubling = [&out](const std::string& name, const std::string& start,
                               const std::string& more, const std::string& after = "") {
    out.emplace_back(name, "{% set n = namespace(a=" + start +
                               ") %}{% for i in range(80) %}{% set n.a = " + more +
                               " %}{% endfor %}" + after);
  };
  for (const std::string unit : {"ab", "\xC3\xA9", "'", "<", "\\n", " ", "\xF0\x9F\x98\x80"}) {
    const std::string start = unit == "'" ? "\"'\"" : "'" + unit + "'";
    doubling("doubling " + unit, start, "n.a ~ n.a");
    for (const std::string use : {"|list",
                                  "|upper",
                                  "|lower",
                                  "|title",
                                  "|capitalize",
                                  "|trim",
                                  "|escape",
                                  "|tojson",
                                  "|string|pprint",
                                  "|reverse",
                                  "|replace('a', 'bbbb')",
                                  "|replace('', 'x')",
                                  "|indent",
                                  "|indent(4, true, true)",
                                  "|wordwrap(1)",
                                  "|wordcount",
                                  "|urlencode",
                                  "|striptags",
                                  "|truncate(10)",
                                  "|center(10**7)",
                                  "|batch(1)|list",
                                  "|length",
                                  "|unique|list",
                                  "|sort",
                                  "|join('xx')",
                                  "|map('upper')|list",
                                  "|select|list",
                                  "|groupby(0)",
                                  ".split('a')",
                                  ".split()",
                                  ".splitlines()",
                                  ".rsplit()",
                                  ".swapcase()",
                                  ".casefold()",
                                  ".title()",
                                  ".center(10**7, 'x')",
                                  ".zfill(10**7)",
                                  ".expandtabs()",
                                  ".partition('a')",
                                  ".replace('', 'xx')",
                                  ".join(['a'] * 1000)",
                                  ".isalnum()",
                                  ".istitle()",
                                  ".format(1)",
                                  "[::-1]",
                                  "[::2]",
                                  "[5:]",
                                  " % ()",
                                  "|tojson(indent=2)|tojson",
                                  "|safe ~ '<'",
                                  " * 2",
                                  "|first",
                                  "|last",
                                  "|max",
                                  "|int",
                                  "|float",
                                  ".encode()",
                                  ".count('')",
                                  ".find('zz')"}) {
      // As long a text as the budget allows, made first.
      out.emplace_back("long " + unit + " then " + use, "{% set t = " + start +
                                                            " * 2000000 %}{% set u = t" + use +
                                                            " %}{% set v = t" + use + " %}{{ u }}");
    }
  }
  doubling("list doubling", "[1]", "n.a + n.a");
  doubling("list times", "[1, 2]", "n.a * 2");
  doubling("tuple doubling", "(1,)", "n.a + n.a");
  doubling("list of itself twice", "[]", "[n.a, n.a]");
  doubling("list of itself printed", "[]", "[n.a, n.a]", "{{ n.a }}");
  doubling("list of itself as JSON", "[]", "[n.a, n.a]", "{{ n.a|tojson }}");
  doubling("list of itself compared", "[]", "[n.a, n.a]",
           "{% set m = namespace(a=[]) %}{% for i in range(80) %}{% set m.a = [m.a, m.a] %}{% "
           "endfor %}{{ n.a == m.a }}");
  doubling("list of itself ordered", "[]", "[n.a, n.a]",
           "{% set m = namespace(a=[]) %}{% for i in range(80) %}{% set m.a = [m.a, m.a] %}{% "
           "endfor %}{{ n.a < m.a }}");
  doubling("tuple of itself as a key", "()", "(n.a, n.a)", "{{ {n.a: 1} }}");
  doubling("tuple of itself twice as a key", "()", "(n.a, n.a)", "{{ {n.a: 1, (n.a, 1): 2} }}");
  doubling("dict of itself", "{}", "{'a': n.a, 'b': n.a}", "{{ n.a }}");
  doubling("dict of itself as JSON", "{}", "{'a': n.a, 'b': n.a}", "{{ n.a|tojson(indent=4) }}");
  doubling("dict of itself compared", "{}", "{'a': n.a, 'b': n.a}",
           "{% set m = namespace(a={}) %}{% for i in range(80) %}{% set m.a = {'a': m.a, 'b': m.a} "
           "%}{% endfor %}{{ n.a == m.a }}");
  doubling("repr of repr", "'\\\\'", "[n.a]|string");
  doubling("JSON of JSON", "'\"'", "n.a|tojson");
  doubling("integer squared", "3", "n.a * n.a");
  doubling("integer power", "3", "n.a ** 3");
  doubling("deep lists", "[]", "[n.a]", "{{ n.a|tojson }}{{ n.a }}");
  doubling("deep namespaces", "1", "namespace(a=n.a)", "{{ n.a }}");
  doubling("deep cyclers", "1", "cycler(n.a)", "{{ n.a }}");
  doubling("deep views", "{}", "{'a': n.a.items()}", "{{ n.a }}");
  out.emplace_back("namespace in itself",
                   "{% set n = namespace() %}{% set n.a = n %}{{ n }}{{ n.a.a.a == n }}");
  out.emplace_back("list that holds its namespace",
                   "{% set n = namespace() %}{% set n.a = [n] %}{{ n }}");
  out.emplace_back(
      "macro in its namespace",
      "{% set n = namespace() %}{% macro f() %}{{ n }}{% endmacro %}{% set n.f = f %}{{ f() }}");
}

inline void add_numbers(std::vector<Program>& out) {
  for (const std::string e : {"'a' * 10**9",
                              "'ab' * (2**62)",
                              "[0] * 10**12",
                              "10**100000",
                              "2**64 * 2**64 // 0",
                              "1 // 0",
                              "1 % 0",
                              "1.0 / 0",
                              "-(2**63)",
                              "2**63 - 1 + 1",
                              "(2**63) // -1",
                              "(-2**63) // -1",
                              "(-2**63) % -1",
                              "9223372036854775807 + 1",
                              "-9223372036854775808 - 1",
                              "'%1000000000d' % 1",
                              "'%.1000000000f' % 1",
                              "'%*d' % (10**10, 1)",
                              "'{:1000000000}'.format(1)",
                              "'{:.1000000000f}'.format(1.0)",
                              "'{0:{0}}'.format(10**9)",
                              "'x'.center(10**10)",
                              "'x'.ljust(10**10)",
                              "'x'.zfill(10**18)",
                              "'\\t'.expandtabs(10**12)",
                              "' '|center(10**10)",
                              "'a'|indent(10**10)",
                              "[1,2]|tojson(indent=10**10)",
                              "'a b'|wordwrap(10**18)",
                              "'a'|truncate(-10**18)",
                              "1e308 * 10",
                              "(1e308 * 10) - (1e308 * 10)",
                              "{(1e308 * 10) - (1e308 * 10): 1}",
                              "0.0 ** -1",
                              "(10**400)|float",
                              "(10**400) * 1.0",
                              "1.5|round(10**9)",
                              "(10**300)|round(-200)",
                              "[1]|batch(10**12, 0)|list",
                              "[1]|slice(10**12)|list",
                              "range(99999)|batch(1)|list|length",
                              "range(99999)|slice(99999)|list|length",
                              "'abc'[::-10**18]",
                              "'abc'[10**30:]",
                              "[1, 2][-10**30]",
                              "'x'|int(base=10**18)",
                              "'z'|int(0, 37)"})
    out.emplace_back(e, "{{ " + e + " }}");
  out.emplace_back("text of many digits", "{{ '" + repeated("9", 5000) + "'|int }}");
  out.emplace_back("many digits", "{{ " + repeated("9", 5000) + " }}");
  out.emplace_back("many digits squared", "{{ " + repeated("9", 4000) + " ** 2 }}");
}

inline void add_nesting(std::vector<Program>& out) {
  for (const size_t n : {90, 1000, 100000}) {
    const auto add = [&](const std::string& open, const std::string& middle,
                         const std::string& close) {
      out.emplace_back(open + " x " + std::to_string(n),
                       "{{ " + repeated(open, n) + middle + repeated(close, n) + " }}");
    };
    for (const std::string pair : {"()", "[]"}) add(pair.substr(0, 1), "1", pair.substr(1));
    add("{'a':", "1", "}");
    add("not ", "1", "");
    add("- ", "1", "");
    add("dict(a=", "1", ")");
    add("1|default(", "1", ")");
    add("1 is eq(", "1", ")");
    add("a[", "1", "]");
    add("a[1:", "1", "]");
    add("1 if (", "1", ") else 2");
    add("0 if 0 else ", "1", "");
    add("(1, ", "1", ")");
    out.emplace_back("chain |abs", "{{ 1" + repeated("|abs", n) + " }}");
    out.emplace_back("chain .a", "{{ a" + repeated(".a", n) + " }}");
    out.emplace_back("chain [0]", "{{ a" + repeated("[0]", n) + " }}");
    out.emplace_back("chain ()", "{{ a" + repeated("()", n) + " }}");
    out.emplace_back("chain +", "{{ 1" + repeated(" + 1", n) + " }}");
    out.emplace_back("chain **", "{{ 1" + repeated(" ** 1", n) + " }}");
    out.emplace_back("chain ~", "{{ 1" + repeated(" ~ 1", n) + " }}");
    out.emplace_back("chain and", "{{ 1" + repeated(" and 1", n) + " }}");
    out.emplace_back("chain <", "{{ 1" + repeated(" < 2", n) + " }}");
    out.emplace_back("chain is", "{{ 1" + repeated(" is number", n) + " }}");
    out.emplace_back("ifs", repeated("{% if 1 %}", n) + repeated("{% endif %}", n));
    out.emplace_back("elifs", "{% if 0 %}" + repeated("{% elif 0 %}", n) + "{% endif %}");
    out.emplace_back("fors", repeated("{% for a in [1] %}", n) + "x" + repeated("{% endfor %}", n));
    out.emplace_back("macros", repeated("{% macro f() %}", n) + repeated("{% endmacro %}", n));
    out.emplace_back("withs", repeated("{% with a = 1 %}", n) + repeated("{% endwith %}", n));
    out.emplace_back("filters",
                     repeated("{% filter upper %}", n) + "x" + repeated("{% endfilter %}", n));
    out.emplace_back("set blocks", repeated("{% set x %}", n) + repeated("{% endset %}", n));
    out.emplace_back("calls", repeated("{% call f() %}", n) + repeated("{% endcall %}", n));
    out.emplace_back("ifs one after the other", repeated("{% if a %}{{ b }}{% endif %}", n));
    std::string many;
    for (size_t i = 0; i < n; ++i)
      many +=
          "{% if a" + std::to_string(i) + " %}{% set b" + std::to_string(i) + " = 1 %}{% endif %}";
    out.emplace_back("ifs over many names", many);
  }
}

inline void add_texts(std::vector<Program>& out) {
  out.emplace_back("10 MB literal", std::string(10 << 20, 'x'));
  out.emplace_back("10 MB string", "{{ '" + std::string(10 << 20, 'x') + "' }}");
  out.emplace_back("3 MB literal", std::string(3 << 20, 'x'));
  for (const std::string unit : {"{",           "{{",      "{%",         "{#",      "{{ ",
                                 "{% ",         "{{ 1 }}", "{% if 1 %}", "{# x #}", "{{ '",
                                 "{{ \"\\",     "{{ x ",   "{% raw %}",  "{%- ",    "{% endraw %}",
                                 "{{-",         "}}",      "{{ ( ",      "{{ 1.",   "{{ 0x",
                                 "{{ 'a' 'b' ", "\n{% ",   "    {%",     "{{ a.b",  "\r\n",
                                 "{%+ set",     "#}"})
    out.emplace_back("2 MB of " + unit, repeated(unit, (2 << 20) / unit.size()));
  out.emplace_back("names", "{{ " + repeated("aaaa ", 400000) + "}}");
  out.emplace_back("list of a million", "{{ [" + repeated("1,", 500000) + "]|length }}");
  out.emplace_back("dict of many", "{{ {" + repeated("1: 1,", 200000) + "}|length }}");
  out.emplace_back("not UTF-8", "{{ '\xFF\xC0\x80' }}\xED\xA0\x80");
  out.emplace_back("NUL", std::string("{{ '\0' }}\0", 11));
}

inline void add_escapes(std::vector<Program>& out) {
  for (const std::string e : {"''.__class__",
                              "''.__class__.__mro__",
                              "[].__class__.__base__.__subclasses__()",
                              "''|attr('__class__')",
                              "self.__init__.__globals__",
                              "range.__globals__",
                              "cycler.__init__",
                              "namespace.__class__",
                              "dict.__subclasses__()",
                              "lipsum.__globals__",
                              "raise_exception.__globals__",
                              "'{0.__class__}'.format(1)",
                              "'{a.__class__}'.format(a=1)",
                              "'{0[__class__]}'.format({})",
                              "'%(a)s' % self",
                              "[].append(1)",
                              "{}.update({})",
                              "[].extend",
                              "{}.pop",
                              "''.format_map(self)",
                              "(1).__add__(2)",
                              "x.__class__",
                              "none.__class__",
                              "loop.__class__",
                              "caller.__class__",
                              "''['__class__']",
                              "[]|map(attribute='__class__')|list",
                              "''|map('attr', '__class__')|list",
                              "tokenize",
                              "chat_template",
                              "get_flashed_messages",
                              "url_for",
                              "config",
                              "request",
                              "import os",
                              "lambda: 1",
                              "x := 1",
                              "[i for i in range(9)]",
                              "open('/etc/passwd')",
                              "eval('1')",
                              "exec('1')"})
    out.emplace_back(e, "{{ " + e + " }}");
  for (const std::string s :
       {"{% include 'x' %}", "{% import 'x' as y %}", "{% extends 'x' %}",
        "{% from 'x' import y %}", "{% do [].append(1) %}", "{% set ns.x = 1 %}",
        "{% set __class__ = 1 %}{{ __class__ }}", "{% set n = namespace(__a=1) %}", "{% break %}",
        "{% for loop in [1] %}{% endfor %}", "{{ raise_exception('x' * 10**6) }}",
        "{{ raise_exception('x' * 10**9) }}", "{{ raise_exception() }}",
        "{{ raise_exception(raise_exception) }}", "{{ 1|nope }}", "{{ 1 is nope }}", "{% nope %}",
        "{{ x|attr(x) }}"})
    out.emplace_back(s, s);
}

inline std::vector<Program> programs() {
  std::vector<Program> out;
  add_recursion(out);
  add_loops(out);
  add_growth(out);
  add_numbers(out);
  add_nesting(out);
  add_texts(out);
  add_escapes(out);
  return out;
}

}  // namespace hostile
