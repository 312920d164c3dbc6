// `x|name(args)`: the table of filters, and those of no theme (tojson, default, length, attr).
#include "chat/jinja/filters.h"

#include "base/join.h"

namespace mm2::chat::jinja {
namespace {

using Filter = Val (*)(Run&, const Val&, Args&);

Val filter_tojson(Run& run, const Val& v, Args& args) {
  return run.to_json(v, args);
}

Val filter_default(Run& run, const Val& v, Args& args) {
  Bound b;
  if (!run.bind("default", args, {"default_value", "boolean"}, &b)) return Val();
  if (v.is(Kind::undefined) || (b.has[1] && truthy(b.value[1]) && !truthy(v))) {
    return b.has[0] ? b.value[0] : run.str("");
  }
  return v;
}

Val filter_length(Run& run, const Val& v, Args& args) {
  Bound b;
  return run.bind("length", args, {}, &b) ? Val::of(run.length(v)) : Val();
}

Val filter_attr(Run& run, const Val& v, Args& args) {
  Bound b;
  if (!run.bind("attr", args, {"name"}, &b, 1)) return Val();
  if (v.is(Kind::undefined)) return run.fail_undefined(v);
  const std::string name = run.to_str(b.value[0]);
  if (v.is(Kind::dict) && member_of(v, name) == Member::none) {
    return run.undefined(mm2::join("'dict object' has no attribute '", name, "'"));
  }
  return run.get_attribute(v, name);
}

Val filter_pprint(Run& run, const Val& v, Args&) {
  std::string out;
  run.append_repr(out, v);
  return run.failed() ? Val() : run.str(std::move(out));
}

struct Entry {
  std::string_view name;
  Filter filter;
};

constexpr Entry kFilters[] = {{"abs", filter_abs},
                              {"attr", filter_attr},
                              {"batch", filter_batch},
                              {"capitalize", filter_capitalize},
                              {"center", filter_center},
                              {"count", filter_length},
                              {"d", filter_default},
                              {"default", filter_default},
                              {"dictsort", filter_dictsort},
                              {"e", filter_escape},
                              {"escape", filter_escape},
                              {"filesizeformat", filter_filesizeformat},
                              {"first", filter_first},
                              {"float", filter_float},
                              {"forceescape", filter_forceescape},
                              {"format", filter_format},
                              {"groupby", filter_groupby},
                              {"indent", filter_indent},
                              {"int", filter_int},
                              {"items", filter_items},
                              {"join", filter_join},
                              {"last", filter_last},
                              {"length", filter_length},
                              {"list", filter_list},
                              {"lower", filter_lower},
                              {"map", filter_map},
                              {"max", filter_max},
                              {"min", filter_min},
                              {"pprint", filter_pprint},
                              {"random", filter_random},
                              {"reject", filter_reject},
                              {"rejectattr", filter_rejectattr},
                              {"replace", filter_replace},
                              {"reverse", filter_reverse},
                              {"round", filter_round},
                              {"safe", filter_safe},
                              {"select", filter_select},
                              {"selectattr", filter_selectattr},
                              {"slice", filter_slice},
                              {"sort", filter_sort},
                              {"string", filter_string},
                              {"striptags", filter_striptags},
                              {"sum", filter_sum},
                              {"title", filter_title},
                              {"tojson", filter_tojson},
                              {"trim", filter_trim},
                              {"truncate", filter_truncate},
                              {"unique", filter_unique},
                              {"upper", filter_upper},
                              {"urlencode", filter_urlencode},
                              {"wordcount", filter_wordcount},
                              {"wordwrap", filter_wordwrap}};

}  // namespace

int filter_number(std::string_view name) {
  int number = 0;
  for (const Entry& entry : kFilters) {
    if (entry.name == name) return number;
    ++number;
  }
  return -1;
}

Val Run::call_filter(int number, const Val& value, Args& args) {
  return kFilters[number].filter(*this, value, args);
}

Val Run::call_filter(std::string_view name, const Val& value, Args& args) {
  const int number = filter_number(name);
  if (number < 0) return fail("TemplateRuntimeError", mm2::join("No filter named '", name, "'."));
  return call_filter(number, value, args);
}

}  // namespace mm2::chat::jinja
