#include "cuda_check/referee.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/api/numbers.h"

namespace check {

using namespace mm2::kernels;

namespace {

void note(Verdicts& verdicts, const std::string& operation, double ratio) {
  double& worst = verdicts[operation];
  worst = std::max(worst, ratio);
}

float number_at(const char* from, int32_t number) {
  if (number == kE4M3) return e4m3_to_f32(static_cast<uint8_t>(*from));
  uint16_t half;
  float whole;
  if (number == kBF16) {
    std::memcpy(&half, from, 2);
    return bf16_to_f32(half);
  }
  std::memcpy(&whole, from, 4);
  return whole;
}

// As kernels store it.
float stored_as(float x, int32_t number, float scale) {
  if (number == kE4M3) return e4m3_to_f32(f32_to_e4m3(x / scale));
  return number == kBF16 ? bf16_to_f32(f32_to_bf16(x)) : x;
}

}  // namespace

std::vector<Referee::Token> Referee::tokens_of(const std::vector<Part>& parts,
                                               const std::vector<int32_t>& before) const {
  std::vector<Token> tokens;
  int32_t output = 0;
  for (const Part& part : parts) {
    const auto n = static_cast<int32_t>(part.tokens.size());
    const int32_t first = before[static_cast<size_t>(part.sequence)];
    for (int32_t i = 0; i < n; ++i) {
      const bool wants = i >= n - part.n_outputs;
      tokens.push_back({part.sequence, first + i, static_cast<int32_t>(tokens.size()),
                        part.tokens[static_cast<size_t>(i)], wants ? output++ : -1});
    }
  }
  return tokens;
}

const float* Referee::row_of(const Seen& seen, const std::string& name, int32_t layer,
                             int32_t row) const {
  const Seen::Values* values = seen.find(name, layer);
  if (values == nullptr) {
    throw DeviceFailure(
        kDeviceFailed, "the observer was not shown " + name + " of layer " + std::to_string(layer));
  }
  return values->numbers.data() + row * values->width;
}

Referee::Stored Referee::read_cache(Runner& runner, const std::vector<Part>& parts) const {
  Stored all;
  const int32_t number = setup_.kv_number;
  const auto width = static_cast<size_t>(bytes_of(number));
  for (const Part& part : parts) {
    const std::vector<char> bytes = runner.stored(part.sequence, runner.length(part.sequence));
    std::vector<float>& numbers = all[part.sequence];
    for (size_t i = 0; i < bytes.size(); i += width)
      numbers.push_back(number_at(&bytes[i], number));
  }
  return all;
}

void Referee::judge(Runner& runner, const std::vector<Part>& parts,
                    const std::vector<int32_t>& before, const Seen& seen,
                    Verdicts& verdicts) const {
  const Stored stored = read_cache(runner, parts);
  const std::vector<Token> tokens = tokens_of(parts, before);
  for (size_t i = 0; i < tokens.size(); ++i) {
    const Token& t = tokens[i];
    // Every token of a long prompt would take hours in FP64: the first ones, the last ones, some.
    if (tokens.size() > 24 && i > 2 && i + 3 < tokens.size() && i % 16 != 0 && t.output < 0)
      continue;
    if (seen.find("hidden", 0) == nullptr) {
      judge_through(runner, seen, t, stored, verdicts);
      if (t.output >= 0) judge_head(seen, t, verdicts);
      continue;
    }
    judge_embedding(seen, t, verdicts);
    for (int32_t layer = 0; layer < model_.shape.n_layers; ++layer) {
      judge_qkv(seen, t, layer, verdicts);
      judge_stored(runner, seen, t, layer, stored, verdicts);
      judge_attention(runner, seen, t, layer, stored, verdicts);
      judge_router(seen, t, layer, verdicts);
      judge_experts_half(seen, t, layer, verdicts);
    }
    if (t.output >= 0) judge_head(seen, t, verdicts);
  }
}

void Referee::judge_embedding(const Seen& seen, const Token& t, Verdicts& verdicts) const {
  const float* got = row_of(seen, "hidden", 0, t.row);
  const double* want =
      &model_.embedding
           .values[static_cast<size_t>(t.id) * static_cast<size_t>(model_.shape.hidden)];
  const bool same = std::equal(want, want + model_.shape.hidden, got);
  note(verdicts, "embed", same ? 0 : INFINITY);
}

Referee::Qkv Referee::qkv_of(const Row& h, int32_t layer, int32_t position) const {
  const ModelShape& s = model_.shape;
  const HostLayer& w = model_.layers[static_cast<size_t>(layer)];
  const Row x = entered(rms_norm(h, w.input_norm, s.rms_norm_eps), setup_.activations);
  Qkv to{rms_norm(multiply(w.q, x, licence_), w.q_norm, s.rms_norm_eps),
         rms_norm(multiply(w.k, x, licence_), w.k_norm, s.rms_norm_eps),
         multiply(w.v, x, licence_)};
  rotate(to.q, s.head_dim, s.rotary_dim, s.rope_theta, position);
  rotate(to.k, s.head_dim, s.rotary_dim, s.rope_theta, position);
  return to;
}

void Referee::judge_qkv(const Seen& seen, const Token& t, int32_t layer, Verdicts& verdicts) const {
  const Row h = exactly(row_of(seen, "hidden", layer, t.row), model_.shape.hidden);
  const Qkv want = qkv_of(h, layer, t.position);
  note(verdicts, "qkv: q", worst_ratio(row_of(seen, "q_rope", layer, t.row), want.q));
  const float* kv = row_of(seen, "kv", layer, t.row);
  note(verdicts, "qkv: k", worst_ratio(kv, want.k));
  note(verdicts, "qkv: v", worst_ratio(kv + want.k.size(), want.v));
}

// The cache holds what was shown, rounded as its number rounds.
void Referee::judge_stored(Runner& runner, const Seen& seen, const Token& t, int32_t layer,
                           const Stored& stored, Verdicts& verdicts) const {
  const ModelShape& s = model_.shape;
  const int64_t width = int64_t{s.n_kv_heads} * s.head_dim;
  const float* kv = row_of(seen, "kv", layer, t.row);
  const float* got =
      stored.at(t.sequence).data() + (int64_t{t.position} * s.n_layers + layer) * 2 * width;
  bool same = true;
  for (int64_t i = 0; i < 2 * width; ++i) {
    const auto head = static_cast<int32_t>(i % width / s.head_dim);
    const float scale = runner.scale(i >= width, layer, head);
    same &= got[i] == stored_as(kv[i], setup_.kv_number, scale);
  }
  note(verdicts, "qkv: cache", same ? 0 : INFINITY);
}

// One query of a head over the stored positions [0, length).
Row Referee::attend(Runner& runner, const Row& q, const std::vector<float>& stored, int32_t layer,
                    int32_t head, int32_t length) const {
  const ModelShape& s = model_.shape;
  const int32_t kv_head = head / (s.n_heads / s.n_kv_heads);
  const auto at = [&](int32_t p, int64_t is_value) {
    return stored.data() +
           (((int64_t{p} * s.n_layers + layer) * 2 + is_value) * s.n_kv_heads + kv_head) *
               s.head_dim;
  };
  const double factor = runner.scale(false, layer, kv_head) / std::sqrt(double(s.head_dim));
  std::vector<Doubtful> scores;
  double greatest = -INFINITY;
  for (int32_t p = 0; p < length; ++p) {
    double sum = 0, size = 0, doubt = 0;
    for (size_t d = 0; d < q.size(); ++d) {
      const double key = at(p, 0)[d];
      sum += q[d].value * key;
      size += std::abs(q[d].value * key);
      doubt += q[d].doubt * std::abs(key);
    }
    const double roundings = (static_cast<double>(s.head_dim) + 6) * licence_.rounding * size;
    scores.push_back({sum * factor, (doubt + roundings) * factor});
    greatest = std::max(greatest, sum * factor);
  }
  // A weight is off by what its score is off by, by 2^x of it and of each time that it fades, and by
  // its own rounding.
  const double own = (length / 64.0 + 3) * kExpError + licence_.probability;
  double total = 0, wrong_total = 0;
  Row y(q.size());
  for (int32_t p = 0; p < length; ++p) {
    const double e = std::exp(scores[static_cast<size_t>(p)].value - greatest);
    const double wrong = e * (std::expm1(scores[static_cast<size_t>(p)].doubt * 2) + own) + 0x1p-63;
    total += e;
    wrong_total += wrong;
    for (size_t d = 0; d < y.size(); ++d) {
      const double value = at(p, 1)[d];
      y[d].value += e * value;
      y[d].doubt += (wrong + (length + 16.0) * licence_.rounding * e) * std::abs(value);
    }
  }
  const double relative = wrong_total / total + (length + 24.0) * licence_.rounding;
  const double scale = runner.scale(true, layer, kv_head) / total;
  for (Doubtful& x : y) x = {x.value * scale, (x.doubt + std::abs(x.value) * relative) * scale};
  return y;
}

Row Referee::attention_of(Runner& runner, const Row& q, const Token& t, int32_t layer,
                          const Stored& stored) const {
  const ModelShape& s = model_.shape;
  const bool rounds = setup_.activations != kF32 && setup_.kv_number != kF32;
  Row all;
  for (int32_t head = 0; head < s.n_heads; ++head) {
    const auto first = q.begin() + head * s.head_dim;
    const Row one = entered({first, first + s.head_dim}, rounds ? kBF16 : kF32);
    const Row y = attend(runner, one, stored.at(t.sequence), layer, head, t.position + 1);
    all.insert(all.end(), y.begin(), y.end());
  }
  return all;
}

void Referee::judge_attention(Runner& runner, const Seen& seen, const Token& t, int32_t layer,
                              const Stored& stored, Verdicts& verdicts) const {
  const int64_t width = int64_t{model_.shape.n_heads} * model_.shape.head_dim;
  const Row q = exactly(row_of(seen, "q_rope", layer, t.row), width);
  note(verdicts, "attention",
       worst_ratio(row_of(seen, "attn_out", layer, t.row),
                   attention_of(runner, q, t, layer, stored)));
}

Row Referee::router_of(const Row& x, int32_t layer, const int32_t* ids) const {
  const ModelShape& s = model_.shape;
  const HostLayer& w = model_.layers[static_cast<size_t>(layer)];
  Row chance = multiply(w.router, x, licence_);
  for (Doubtful& c : chance) {
    const double value = 1 / (1 + std::exp(-c.value));
    c = {value, 0.25 * c.doubt + value * (kExpError + 4 * kRounding)};
  }
  const auto rank = [&](int32_t e) {
    const auto i = static_cast<size_t>(e);
    return Doubtful{chance[i].value + double{w.router_bias[i]}, chance[i].doubt + 2 * kRounding};
  };
  double sum = 0, wrong = 0;
  for (int32_t i = 0; i < s.top_k; ++i) {
    if (ids[i] < 0 || ids[i] >= s.n_experts || (i > 0 && ids[i] <= ids[i - 1])) return {};
    const auto [value, doubt] = rank(ids[i]);
    for (int32_t e = 0; e < s.n_experts; ++e) {
      if (std::find(ids, ids + s.top_k, e) != ids + s.top_k) continue;
      if (rank(e).value - rank(e).doubt > value + doubt) return {};
    }
    sum += chance[static_cast<size_t>(ids[i])].value;
    wrong += chance[static_cast<size_t>(ids[i])].doubt;
  }
  Row weights;
  for (int32_t i = 0; i < s.top_k; ++i) {
    const auto [value, doubt] = chance[static_cast<size_t>(ids[i])];
    const double weight = value / sum;
    // What the sum is off by, to first order and beyond.
    const double relative = wrong / std::max(sum - wrong, 1e-9) + s.top_k * kRounding;
    weights.push_back({weight, doubt / std::max(sum - wrong, 1e-9) + weight * relative});
  }
  return weights;
}

void Referee::judge_router(const Seen& seen, const Token& t, int32_t layer,
                           Verdicts& verdicts) const {
  const Row x = exactly(row_of(seen, "expert_in", layer, t.row), model_.shape.hidden);
  const int32_t* ids = seen.find("topk_ids", layer)->ids.data() + t.row * model_.shape.top_k;
  const Row weights = router_of(x, layer, ids);
  note(verdicts, "router: choice", weights.empty() ? INFINITY : 0);
  if (weights.empty()) return;
  note(verdicts, "router: weights",
       worst_ratio(row_of(seen, "topk_weights", layer, t.row), weights));
}

Row Referee::experts_of(const Row& h, const Row& x, int32_t layer, const int32_t* ids,
                        const Row& weights) const {
  const HostLayer& w = model_.layers[static_cast<size_t>(layer)];
  const Row entering = entered(x, setup_.activations);
  Row sum(h.size());
  for (size_t i = 0; i < weights.size(); ++i) {
    const auto e = static_cast<size_t>(ids[i]);
    const Row inner =
        gated(multiply(w.gate[e], entering, licence_), multiply(w.up[e], entering, licence_));
    Row down = multiply(w.down[e], entered(inner, setup_.activations), licence_);
    const auto [weight, wrong] = weights[i];
    for (Doubtful& d : down) {
      const double size = std::abs(d.value) + d.doubt;
      d = {d.value * weight, (d.doubt + kRounding * size) * weight + size * wrong};
    }
    sum = add(sum, down);
  }
  return add(h, sum);
}

// From the attention's output over the residual to the next layer's input.
void Referee::judge_experts_half(const Seen& seen, const Token& t, int32_t layer,
                                 Verdicts& verdicts) const {
  const ModelShape& s = model_.shape;
  const HostLayer& w = model_.layers[static_cast<size_t>(layer)];
  const Row attention =
      entered(exactly(row_of(seen, "attn_out", layer, t.row), int64_t{s.n_heads} * s.head_dim),
              setup_.activations);
  const Row h = add(exactly(row_of(seen, "hidden", layer, t.row), s.hidden),
                    multiply(w.o, attention, licence_));
  const float* expert_in = row_of(seen, "expert_in", layer, t.row);
  note(verdicts, "o, residual, norm",
       worst_ratio(expert_in, rms_norm(h, w.post_attention_norm, s.rms_norm_eps)));
  const int32_t* ids = seen.find("topk_ids", layer)->ids.data() + t.row * s.top_k;
  const Row weights = exactly(row_of(seen, "topk_weights", layer, t.row), s.top_k);
  note(verdicts, "experts",
       worst_ratio(row_of(seen, "hidden", layer + 1, t.row),
                   experts_of(h, exactly(expert_in, s.hidden), layer, ids, weights)));
}

// Keys and values of the token itself, against what is in the cache: off by half a step of its number.
void Referee::judge_own_stored(Runner& runner, const Qkv& qkv, const Token& t, int32_t layer,
                               const Stored& stored, Verdicts& verdicts) const {
  const ModelShape& s = model_.shape;
  const int64_t width = int64_t{s.n_kv_heads} * s.head_dim;
  const float* got =
      stored.at(t.sequence).data() + (int64_t{t.position} * s.n_layers + layer) * 2 * width;
  const double step = setup_.kv_number == kE4M3 ? 0x1p-4 : setup_.kv_number == kBF16 ? 0x1p-8 : 0;
  const double least = setup_.kv_number == kE4M3 ? 0x1p-10 : 0;
  for (int64_t i = 0; i < 2 * width; ++i) {
    const Doubtful want =
        i < width ? qkv.k[static_cast<size_t>(i)] : qkv.v[static_cast<size_t>(i - width)];
    const double scale =
        runner.scale(i >= width, layer, static_cast<int32_t>(i % width / s.head_dim));
    if (std::abs(want.value) + want.doubt >= 448 * scale && least != 0) continue;  // cut off
    const double off = std::abs(double{got[i]} * scale - want.value);
    const double size = std::abs(want.value) + want.doubt;
    note(verdicts, "layers: keys and values",
         off / (want.doubt + step * size + least * scale + 4 * kRounding * size + 1e-30));
  }
}

void Referee::judge_through(Runner& runner, const Seen& seen, const Token& t, const Stored& stored,
                            Verdicts& verdicts) const {
  const ModelShape& s = model_.shape;
  Row h(static_cast<size_t>(s.hidden));
  for (size_t i = 0; i < h.size(); ++i) {
    h[i].value = model_.embedding.values[static_cast<size_t>(t.id) * h.size() + i];
  }
  for (int32_t layer = 0; layer < s.n_layers; ++layer) {
    const HostLayer& w = model_.layers[static_cast<size_t>(layer)];
    const Qkv qkv = qkv_of(h, layer, t.position);
    judge_own_stored(runner, qkv, t, layer, stored, verdicts);
    const Row y = attention_of(runner, qkv.q, t, layer, stored);
    h = add(h, multiply(w.o, entered(y, setup_.activations), licence_));
    const Row x = rms_norm(h, w.post_attention_norm, s.rms_norm_eps);
    const int32_t* ids = seen.find("topk_ids", layer)->ids.data() + t.row * s.top_k;
    const Row weights = router_of(x, layer, ids);
    note(verdicts, "layers: choice of experts", weights.empty() ? INFINITY : 0);
    if (weights.empty()) return;
    h = experts_of(h, x, layer, ids, weights);
  }
  note(verdicts, "layers", worst_ratio(row_of(seen, "hidden", s.n_layers, t.row), h));
}

void Referee::judge_head(const Seen& seen, const Token& t, Verdicts& verdicts) const {
  const ModelShape& s = model_.shape;
  const Row h = exactly(row_of(seen, "hidden", s.n_layers, t.row), s.hidden);
  Row normed = rms_norm(h, model_.final_norm, s.rms_norm_eps);
  if (seen.find("final_norm", -1) != nullptr) {
    const float* shown = row_of(seen, "final_norm", -1, t.output);
    note(verdicts, "final norm", worst_ratio(shown, normed));
    normed = exactly(shown, s.hidden);
  }
  note(verdicts, "logits",
       worst_ratio(seen.logits.data() + int64_t{t.output} * s.n_vocab,
                   multiply(model_.lm_head, entered(normed, setup_.activations), licence_)));
}

}  // namespace check
