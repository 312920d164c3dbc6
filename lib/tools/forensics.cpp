// forensics A B: how far two checkpoints are apart, tensor by tensor, and what t that suggests.
#include <algorithm>
#include <cmath>

#include "format/atomic_writer.h"
#include "tools/merge/schedule.h"
#include "tools/option_reader.h"
#include "tools/pair_pass.h"
#include "tools/routers.h"
#include "tools/tool_options.h"
#include "tools/verbs.h"

namespace mm2 {
namespace {

constexpr double kMadToSigma = 1.4826;

struct ForensicsOptions {
  std::string a, b, out, svg;
  ScheduleOptions schedule;
  int32_t threads = 0, top = 50, bins = 35;
  bool strict = false, match_experts = false;
  MatchOptions match;
};

Result<ForensicsOptions> read_options(const Json& json) {
  static constexpr std::string_view kAllowed[] = {
      "a",          "b",       "out",  "svg",      "normalizer", "low",    "span",
      "percentile", "top",     "bins", "mad_full", "threads",    "strict", "match_experts",
      "min_margin", "max_cost"};
  static constexpr std::string_view kNormalizers[] = {"percentile", "max", "mad", "noise-floor",
                                                      "per-class"};
  const OptionReader reader("forensics", json);
  MM2_RETURN_IF_ERROR(reader.check_names(kAllowed));
  ForensicsOptions to;
  std::string normalizer = "percentile";
  for (const auto& [name, text] : {std::pair{"a", &to.a}, std::pair{"b", &to.b},
                                   std::pair{"out", &to.out}, std::pair{"svg", &to.svg}})
    MM2_RETURN_IF_ERROR(reader.text(name, *text));
  if (to.a.empty()) return reader.wrong("a", "must name a checkpoint");
  if (to.b.empty()) return reader.wrong("b", "must name a checkpoint");
  MM2_RETURN_IF_ERROR(reader.word("normalizer", kNormalizers, normalizer));
  for (const Normalizer one : {Normalizer::percentile, Normalizer::maximum, Normalizer::mad,
                               Normalizer::noise_floor, Normalizer::per_class}) {
    if (normalizer_name(one) == normalizer) to.schedule.normalizer = one;
  }
  MM2_RETURN_IF_ERROR(reader.number("percentile", 0, 100, to.schedule.q));
  MM2_RETURN_IF_ERROR(reader.number("low", 0, 1, to.schedule.low));
  MM2_RETURN_IF_ERROR(reader.number("span", -1, 1, to.schedule.span));
  MM2_RETURN_IF_ERROR(reader.number("mad_full", 1e-6, 1e6, to.schedule.mad_full));
  MM2_RETURN_IF_ERROR(reader.integer("top", 0, 1'000'000, to.top));
  MM2_RETURN_IF_ERROR(reader.integer("bins", 1, 1000, to.bins));
  MM2_RETURN_IF_ERROR(reader.integer("threads", 0, 4096, to.threads));
  MM2_RETURN_IF_ERROR(reader.boolean("strict", to.strict));
  MM2_RETURN_IF_ERROR(reader.boolean("match_experts", to.match_experts));
  MM2_RETURN_IF_ERROR(reader.number("min_margin", 0, 2, to.match.min_margin));
  MM2_RETURN_IF_ERROR(reader.number("max_cost", 0, 2, to.match.max_cost));
  return to;
}

// JSON has no infinity.
Json number_or_null(double value) {
  return std::isfinite(value) ? Json(value) : Json();
}

// Median and spread of a class, for outliers.
struct Middle {
  double median = 0, sigma = 0;
};

class Report {
 public:
  Report(const PairedViews& views, const PairTable& table, const ForensicsOptions& options)
      : views_(views), table_(table), options_(options) {
    for (size_t i = 0; i < table.rows.size(); ++i) {
      const WeightPair& pair = views.pairs[i];
      const double noise = std::max(quantization_noise(*pair.a), quantization_noise(*pair.b));
      rows_.push_back(
          {pair.a->place.name, pair_class(*pair.a), table.rows[i].figures.one_minus_cosine, noise});
      by_class_[rows_.back().group].push_back(i);
    }
    for (const auto& [name, members] : by_class_) middles_[name] = middle_of(members);
    const auto schedule = make_schedule(rows_, options.schedule);
    if (schedule.ok()) {
      schedule_ = *schedule;
    } else {
      schedule_status_ = schedule.status();
    }
  }

  Json summary() const {
    Json report = {{"a", views_.a->identity()},
                   {"b", views_.b->identity()},
                   {"n_weight_pairs", views_.pairs.size()},
                   {"n_tensor_pairs", views_.n_tensor_pairs()},
                   {"changes", changes()},
                   {"scales", scales()}};
    if (!views_.only_a.empty()) report["only_in_a"] = views_.only_a;
    if (!views_.only_b.empty()) report["only_in_b"] = views_.only_b;
    if (!views_.renumbered.empty()) report["renumbered_routers"] = views_.renumbered;
    if (!views_.shapes_differ.empty()) report["shapes_differ"] = views_.shapes_differ;
    report["cluster"] = cluster();
    report["classes"] = classes();
    report["layers"] = layers();
    report["schedule"] = schedule();
    report["top"] = top();
    return report;
  }

  Json row(size_t i) const {
    const PairRow& row = table_.rows[i];
    const PairFigures& f = row.figures;
    const WeightPlace& place = views_.pairs[i].a->place;
    const std::string& name_b = views_.pairs[i].b->place.name;
    const double noise = rows_[i].noise;
    Json json = {
        {"name", place.name},
        {"class", rows_[i].group},
        {"layer", place.layer},
        {"expert", place.expert},
        {"stored_a", views_.pairs[i].a->description.to_string()},
        {"stored_b", views_.pairs[i].b->description.to_string()},
        {"elements", f.n_elements},
        {"change", std::string(pair_change_name(row.change))},
        {"cos", f.cosine},
        {"delta", f.one_minus_cosine},
        {"delta_without_noise", without_noise(f.one_minus_cosine, noise, noise)},
        {"rel_l2", number_or_null(f.rel_l2)},
        {"rel_l2_if_only_turned", f.rel_l2_if_only_turned},
        {"norm_ratio", number_or_null(f.norm_ratio)},
        {"max_abs_diff", f.max_abs_diff},
        {"mean_abs_diff", f.sum_abs_diff / static_cast<double>(f.n_elements)},
        {"equal_share", static_cast<double>(f.n_equal) / static_cast<double>(f.n_elements)},
        {"block_rel_l2",
         {{"p50", row.block_p50},
          {"p90", row.block_p90},
          {"p99", row.block_p99},
          {"max", number_or_null(f.max_block_rel_l2)}}},
        {"z", number_or_null(outlying(i))}};
    if (name_b != place.name) json["name_b"] = name_b;
    if (!schedule_.t.empty()) json["t"] = schedule_.t[i];
    return json;
  }

  // One row a line: a whole model is 48,239 of them, which are never all in memory as JSON.
  Status write(const std::string& path) const {
    std::string text = summary().dump(1);
    text.erase(text.rfind('}'));
    while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
    text += ",\n \"tensors\": [\n";
    for (size_t i = 0; i < rows_.size(); ++i)
      text += join("  ", row(i).dump(), i + 1 < rows_.size() ? ",\n" : "\n");
    return write_text_file(path, text + " ]\n}\n");
  }

  Status write_svg(const std::string& path) const {
    MM2_RETURN_IF_ERROR(schedule_status_);
    return write_text_file(path, histogram_svg(histogram(),
                                               join("t of ", rows_.size(), " tensors, divided by ",
                                                    normalizer_name(options_.schedule.normalizer)),
                                               "t (share of B)"));
  }

  Status status() const {
    if (!options_.strict) return {};
    const size_t lost = views_.only_a.size() + views_.only_b.size() + views_.shapes_differ.size();
    if (lost != 0)
      return error(Code::check_failed, "forensics: ", lost,
                   " weights have no partner of their shape; the report names them");
    return schedule_status_;
  }

  size_t n_rows() const { return rows_.size(); }

 private:
  std::vector<double> sorted_deltas(const std::vector<size_t>& members) const {
    std::vector<double> deltas;
    for (const size_t i : members) deltas.push_back(rows_[i].delta);
    std::sort(deltas.begin(), deltas.end());
    return deltas;
  }

  Middle middle_of(const std::vector<size_t>& members) const {
    std::vector<double> deltas = sorted_deltas(members);
    Middle middle;
    middle.median = deltas[deltas.size() / 2];
    for (double& delta : deltas) delta = std::abs(delta - middle.median);
    std::sort(deltas.begin(), deltas.end());
    middle.sigma = kMadToSigma * deltas[deltas.size() / 2];
    return middle;
  }

  // Robust z among the tensors of its class; infinite where all others are equal.
  double outlying(size_t i) const {
    const Middle& middle = middles_.at(rows_[i].group);
    const double above = rows_[i].delta - middle.median;
    return above == 0 ? 0 : above / middle.sigma;
  }

  Json changes() const {
    size_t n[3] = {};
    for (const PairRow& row : table_.rows) ++n[static_cast<size_t>(row.change)];
    return {{"identical", n[0]}, {"scales-only", n[1]}, {"values", n[2]}};
  }

  Json scales() const {
    size_t n = 0, equal = 0, codes = 0;
    for (size_t i = 0; i < table_.rows.size(); ++i) {
      if (!views_.pairs[i].alike || views_.pairs[i].a->description.is_plain()) continue;
      ++n;
      equal += table_.rows[i].scales_equal ? 1 : 0;
      codes += table_.rows[i].codes_equal ? 1 : 0;
    }
    return {
        {"quantised_pairs", n}, {"bit_identical_scales", equal}, {"bit_identical_codes", codes}};
  }

  Json cluster() const {
    std::vector<size_t> all(rows_.size());
    for (size_t i = 0; i < all.size(); ++i) all[i] = i;
    if (all.empty()) return Json::object();
    const double median = middle_of(all).median;
    size_t near = 0;
    for (const ScheduleRow& row : rows_)
      near += std::abs(row.delta - median) <= 0.1 * median ? 1 : 0;
    return {
        {"median_delta", median},
        {"median_cos", 1 - median},
        {"share_within_10_percent", static_cast<double>(near) / static_cast<double>(all.size())},
        {"slerp_gain_at_half", slerp_gain(1 - median, 0.5)}};
  }

  Json classes() const {
    Json list = Json::array();
    for (const auto& [name, members] : by_class_) {
      const std::vector<double> deltas = sorted_deltas(members);
      uint64_t elements = 0;
      double aa = 0, bb = 0, dd = 0, t = 0;
      for (const size_t i : members) {
        const PairFigures& f = table_.rows[i].figures;
        elements += f.n_elements;
        aa += f.aa;
        bb += f.bb;
        dd += f.dd;
        if (!schedule_.t.empty()) t += schedule_.t[i];
      }
      const auto at = [&](double q) { return *percentile(deltas, q); };
      const LogHistogram& blocks = table_.blocks.at(name);
      Json one = {{"class", name},
                  {"tensors", members.size()},
                  {"elements", elements},
                  {"delta_min", deltas.front()},
                  {"delta_p50", at(50)},
                  {"delta_p99", at(99)},
                  {"delta_max", deltas.back()},
                  {"rel_l2", number_or_null(std::sqrt(dd / aa))},
                  {"norm_ratio", number_or_null(std::sqrt(bb / aa))},
                  {"block_rel_l2_p50", blocks.quantile(0.5)},
                  {"block_rel_l2_p99", blocks.quantile(0.99)},
                  {"noise_floor", noise_floor(members)}};
      if (!schedule_.t.empty()) one["mean_t"] = t / static_cast<double>(members.size());
      list.push_back(std::move(one));
    }
    return list;
  }

  // 1 - cosine that quantisation alone would show.
  double noise_floor(const std::vector<size_t>& members) const {
    const double noise = rows_[members.front()].noise;
    return noise * noise;
  }

  Json layers() const {
    std::map<int32_t, std::pair<double, double>> sums;  // dd, aa
    std::map<int32_t, double> largest;
    for (size_t i = 0; i < rows_.size(); ++i) {
      const int32_t layer = views_.pairs[i].a->place.layer;
      sums[layer].first += table_.rows[i].figures.dd;
      sums[layer].second += table_.rows[i].figures.aa;
      largest[layer] = std::max(largest[layer], rows_[i].delta);
    }
    Json list = Json::array();
    for (const auto& [layer, sum] : sums) {
      list.push_back({{"layer", layer},
                      {"rel_l2", number_or_null(std::sqrt(sum.first / sum.second))},
                      {"max_delta", largest[layer]}});
    }
    return list;
  }

  Histogram histogram() const {
    const double ends[2] = {options_.schedule.low, options_.schedule.low + options_.schedule.span};
    return make_histogram(schedule_.t, std::min(ends[0], ends[1]), std::max(ends[0], ends[1]),
                          static_cast<size_t>(options_.bins));
  }

  Json schedule() const {
    Json json = {{"formula", "t = low + span * clip((delta - center) / divisor, 0, 1)"},
                 {"normalizer", std::string(normalizer_name(options_.schedule.normalizer))},
                 {"percentile", options_.schedule.q},
                 {"low", options_.schedule.low},
                 {"span", options_.schedule.span},
                 {"population", "all weights that both have; scales are part of their weight"},
                 {"n", rows_.size()}};
    if (schedule_.t.empty()) {
      json["error"] = schedule_status_.message();
      return json;
    }
    for (const Divisor& divisor : schedule_.divisors) {
      json["divisors"].push_back({{"class", divisor.group},
                                  {"n", divisor.n},
                                  {"center", divisor.center},
                                  {"divisor", divisor.value}});
    }
    double sum = 0;
    for (const double t : schedule_.t) sum += t;
    const Histogram counts = histogram();
    json["mean_t"] = sum / static_cast<double>(schedule_.t.size());
    json["histogram"] = {{"low", counts.low}, {"high", counts.high}, {"counts", counts.counts}};
    return json;
  }

  // The tensors that stand out most of their class.
  Json top() const {
    std::vector<size_t> order(rows_.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    const auto before = [this](size_t x, size_t y) {
      const double a = outlying(x), b = outlying(y);
      return a != b ? a > b : x < y;
    };
    const size_t n = std::min(order.size(), static_cast<size_t>(options_.top));
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(n), order.end(),
                      before);
    Json list = Json::array();
    for (size_t k = 0; k < n; ++k) {
      const size_t i = order[k];
      list.push_back({{"name", rows_[i].name},
                      {"delta", rows_[i].delta},
                      {"z", number_or_null(outlying(i))},
                      {"rel_l2", number_or_null(table_.rows[i].figures.rel_l2)}});
    }
    return list;
  }

  const PairedViews& views_;
  const PairTable& table_;
  const ForensicsOptions& options_;
  std::vector<ScheduleRow> rows_;
  std::map<std::string, std::vector<size_t>> by_class_;
  std::map<std::string, Middle> middles_;
  Schedule schedule_;
  Status schedule_status_;
};

// Which expert of B each of A is, by their routers. The verdict where that is not certain.
Result<ExpertMap> matched_experts(const ForensicsOptions& options, Executor& executor,
                                  const Host& host, Json& report) {
  MM2_ASSIGN_OR_RETURN(const Routers a, Routers::open(options.a, host));
  MM2_ASSIGN_OR_RETURN(const Routers b, Routers::open(options.b, host));
  MM2_ASSIGN_OR_RETURN(const MatchedModel matched, match_models(a, b, options.match, executor));
  MM2_RETURN_IF_ERROR(matched.verdict);
  ExpertMap map;
  for (const ExpertMatch& layer : matched.layers) {
    std::vector<int32_t>& of_layer =
        map.emplace_back(static_cast<size_t>(a.config().n_experts), int32_t{-1});
    for (size_t i = 0; i < layer.pairs.size(); ++i) {
      of_layer.at(static_cast<size_t>(layer.pairs[i].original)) = static_cast<int32_t>(i);
    }
  }
  report = match_report(matched);
  return map;
}

}  // namespace

Status run_forensics(const Json& json, const Host& host, Json* report) {
  MM2_ASSIGN_OR_RETURN(const ForensicsOptions options, read_options(json));
  MM2_ASSIGN_OR_RETURN(auto a, CheckpointView::open(options.a, host));
  MM2_ASSIGN_OR_RETURN(auto b, CheckpointView::open(options.b, host));
  MM2_ASSIGN_OR_RETURN(const auto executor, tool_executor(options.threads, host));
  ExpertMap experts;
  Json matches;
  if (options.match_experts) {
    MM2_ASSIGN_OR_RETURN(experts, matched_experts(options, *executor, host, matches));
  }
  const PairedViews views =
      pair_views(std::move(a), std::move(b), options.match_experts ? &experts : nullptr);
  if (views.pairs.empty())
    return error(Code::invalid_argument, "forensics: ", options.a, " and ", options.b,
                 " have no weight of equal name and shape");
  MM2_ASSIGN_OR_RETURN(const PairTable table, compare_pairs(views, *executor, host));
  const Report result(views, table, options);
  *report = result.summary();
  if (options.match_experts) (*report)["matched_experts"] = std::move(matches);
  if (options.out.empty()) {
    Json& rows = (*report)["tensors"] = Json::array();
    for (size_t i = 0; i < result.n_rows(); ++i) rows.push_back(result.row(i));
  } else {
    MM2_RETURN_IF_ERROR(result.write(options.out));
    (*report)["out"] = options.out;
  }
  if (!options.svg.empty()) {
    MM2_RETURN_IF_ERROR(result.write_svg(options.svg));
    (*report)["svg"] = options.svg;
  }
  return result.status();
}

}  // namespace mm2
