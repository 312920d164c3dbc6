// The verbs themselves; tools.h describes them.
#pragma once

#include "base/host.h"
#include "base/json.h"
#include "base/status.h"

namespace mm2 {

Status run_inspect(const Json& options, const Host& host, Json* report);
Status run_verify(const Json& options, const Host& host, Json* report);
Status run_reshard(const Json& options, const Host& host, Json* report);
Status run_manifest(const Json& options, const Host& host, Json* report);
Status run_resume(const Json& options, const Host& host, Json* report);
Status run_calibrate(const Json& options, const Host& host, Json* report);
Status run_forensics(const Json& options, const Host& host, Json* report);
Status run_match_experts(const Json& options, const Host& host, Json* report);
Status run_delete_experts(const Json& options, const Host& host, Json* report);
Status run_to_megatron(const Json& options, const Host& host, Json* report);
Status run_from_megatron(const Json& options, const Host& host, Json* report);
Status run_roundtrip(const Json& options, const Host& host, Json* report);
Status run_shard_plan(const Json& options, const Host& host, Json* report);
Status run_kv_scales(const Json& options, const Host& host, Json* report);
Status run_synth(const Json& options, const Host& host, Json* report);
Status run_quantize(const Json& options, const Host& host, Json* report);
Status run_convert(const Json& options, const Host& host, Json* report);
Status run_repack(const Json& options, const Host& host, Json* report);
Status run_prune(const Json& options, const Host& host, Json* report);
Status run_doctor(const Json& options, const Host& host, Json* report);
Status run_merge(const Json& options, const Host& host, Json* report);
Status run_tensor(const Json& options, const Host& host, Json* report);

}  // namespace mm2
