// The filters of Jinja by theme, as the table in filters.cpp names them, and what they share.
#pragma once

#include <string>

#include "chat/jinja/case.h"
#include "chat/jinja/run.h"
#include "chat/jinja/strings.h"

namespace mm2::chat::jinja {

inline Val lowered(Run& run, const Val& v) {
  return v.is(Kind::string) ? run.str(lower(v.text())) : v;
}

inline Val text_of(Run& run, const Val& v) {
  return v.is(Kind::string) ? v : run.str(run.to_str(v));
}

// filters_text.cpp
Val filter_trim(Run& run, const Val& v, Args& args);
Val filter_upper(Run& run, const Val& v, Args& args);
Val filter_lower(Run& run, const Val& v, Args& args);
Val filter_capitalize(Run& run, const Val& v, Args& args);
Val filter_title(Run& run, const Val& v, Args& args);
Val filter_string(Run& run, const Val& v, Args& args);
Val filter_safe(Run& run, const Val& v, Args& args);
Val filter_forceescape(Run& run, const Val& v, Args& args);
Val filter_escape(Run& run, const Val& v, Args& args);
Val filter_replace(Run& run, const Val& v, Args& args);
Val filter_indent(Run& run, const Val& v, Args& args);
Val filter_truncate(Run& run, const Val& v, Args& args);
Val filter_format(Run& run, const Val& v, Args& args);
Val filter_center(Run& run, const Val& v, Args& args);
Val filter_wordwrap(Run& run, const Val& v, Args& args);
Val filter_striptags(Run& run, const Val& v, Args& args);
Val filter_urlencode(Run& run, const Val& v, Args& args);
Val filter_wordcount(Run& run, const Val& v, Args& args);

// filters_sequences.cpp
Val filter_join(Run& run, const Val& v, Args& args);
Val filter_map(Run& run, const Val& v, Args& args);
Val filter_select(Run& run, const Val& v, Args& args);
Val filter_reject(Run& run, const Val& v, Args& args);
Val filter_selectattr(Run& run, const Val& v, Args& args);
Val filter_rejectattr(Run& run, const Val& v, Args& args);
Val filter_list(Run& run, const Val& v, Args& args);
Val filter_first(Run& run, const Val& v, Args& args);
Val filter_last(Run& run, const Val& v, Args& args);
Val filter_random(Run& run, const Val& v, Args& args);
Val filter_reverse(Run& run, const Val& v, Args& args);
Val filter_sort(Run& run, const Val& v, Args& args);
Val filter_unique(Run& run, const Val& v, Args& args);
Val filter_items(Run& run, const Val& v, Args& args);
Val filter_dictsort(Run& run, const Val& v, Args& args);
Val filter_batch(Run& run, const Val& v, Args& args);
Val filter_slice(Run& run, const Val& v, Args& args);
Val filter_groupby(Run& run, const Val& v, Args& args);

// filters_numbers.cpp
Val filter_int(Run& run, const Val& v, Args& args);
Val filter_float(Run& run, const Val& v, Args& args);
Val filter_abs(Run& run, const Val& v, Args& args);
Val filter_round(Run& run, const Val& v, Args& args);
Val filter_sum(Run& run, const Val& v, Args& args);
Val filter_min(Run& run, const Val& v, Args& args);
Val filter_max(Run& run, const Val& v, Args& args);
Val filter_filesizeformat(Run& run, const Val& v, Args& args);

}  // namespace mm2::chat::jinja
