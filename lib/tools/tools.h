// Checkpoint tools behind one door: the verbs of the mm2 program that work on files.
#pragma once

#include <string_view>

#include "base/host.h"
#include "base/json.h"
#include "base/status.h"

namespace mm2 {

/// Runs a verb. `options` is an object (or null for none); "model" is what it works on: a
/// checkpoint folder, a .safetensors file, an index or a config.json. `report` becomes an object
/// when the result is ok or Code::check_failed, and says as much as was found when an input is
/// broken; it is left alone otherwise. Inputs are never written to. host.progress sees bytes read
/// (kStageTool) and may cancel.
///
///   inspect   layer, tensor (glob): list these tensors
///   verify    deep: read every value, NaN and infinity fail; hash (true, "xxh3", "sha256"): digest
///             of every tensor, compared with `manifest` (default: manifest.json in the folder,
///             where there is one); strict: remarks fail too
///   forensics a, b (checkpoints): how far they are apart, weight by weight, and a schedule of t.
///             out: the table goes into this JSON file; svg: histogram of t; normalizer
///             ("percentile", "max", "mad", "noise-floor", "per-class"), percentile (99), low (0.5),
///             span (0.35), mad_full (6), top (50), bins (35); strict: weights without a partner
///             and a schedule that cannot be made fail
///   match-experts  model, reference (a pruned one): which experts it has kept; min_margin (0.02) and
///             max_cost (0.3) of a pair that is no exact copy; save_deleted_experts: the mask file;
///             details: a file with every pair; strict: another order fails
///   delete-experts  model, out, and compare_with (a pruned model; save_deleted_experts) or
///             deleted_experts_file; num_original_experts, num_retained_experts, strip_kv_bias (true)
///   to-megatron  model, out; tp, pp, ep, etp, vpp, first_layers, last_layers, pad_vocab (128), names
///             ("slime", "bridge"), format ("torch", "safetensors")
///   from-megatron  model (the folder of release/ or iter_NNNNNNN/), config (a checkpoint; default: the
///             folder itself), out, and the layout unless to-megatron has left it there
///   roundtrip  model, chain ("to-megatron", "from-megatron") and a layout: carried out in memory, every
///             byte compared
///   shard-plan  model, tp, ep (1 or tp): bytes of a device, what engines refuse (strict: fails);
///             eplb (file of loads), redundant, nodes, groups: where experts go
///   merge     several checkpoints into one, folder `out` (and mem, max_shard, dry_run, resume).
///             recipe (an object, tools/merge/recipe.h); or models, method ("slerp"), base, t,
///             weights, parameters, seed. t_from: a table of forensics, t_formula "scan" or
///             "slurpy"; only ("experts", "attn", "router", "norm", "embed", "head"): the rest is
///             copied from the base; out_dtype; scale_search "mse" or "amax" for fp8; arithmetic
///             "f32" or "bf16"; tokenizer_from. merge_report.json in the folder has the error of
///             every tensor
///   doctor    model; engine, tp, ep: rules for serving it; deep: read every value; fix, out: repair
///             what needs no data
///   manifest  model; hash ("xxh3", "sha256"), manifest: the file to write
///   reshard   model, out: the same in other shards
///   convert   model, out, to ("bf16", "f16", "f32", "fp8", "fp8-ct", "fp8-channel", "fp8-tensor"); scale
///             ("amax", "mse", "ue8m0"); exact; only, ignore, errors as quantize
///   quantize  model, out, and what quant_recipe.h says; only ("experts", "attention"), ignore (globs of
///             modules), stats (of calibrate), errors: measure every matrix
///   repack    model, out, to (a layout); scale_dtype, v1_zeros ("refuse", "words", "fields"),
///             may_round_scales, positive_scales, group, sym
///   calibrate model, tokens (JSON lines of ids), out (a .safetensors file); collect ("reap", "imatrix",
///             "act", "kv", "hessian"), max_length, max_tokens, mem, dry_run
///   prune     model, stats, ratio or keep, and out or mask_out; method, protect_super (true),
///             all_layers, seed, strip_kv_bias
///   kv-scales model; without out a list; import (a checkpoint), stats, min, strip, strip_bias
///   synth     out; shape ("m2", "m2-reap"), to ("fp8", "bf16"), layers (2), experts, seed
///   tensor    op, in, tensors, params, out (tensor_op.h)
///   resume    out: continues what was interrupted; threads, mem
///
/// Those that write a folder take out, mem, max_shard, dry_run (stream/write.h). All take threads. Errors: not_found for a verb or file that does not exist, unsupported for
/// what a verb cannot do, invalid_argument for unknown or ill-typed options,
/// check_failed when a check found something, what opening the input gives, cancelled.
Status run_tool(std::string_view verb, const Json& options, const Host& host, Json* report);

}  // namespace mm2
