/* mm2/tools.h: checkpoint tools, all behind one door. */
#ifndef MM2_TOOLS_H
#define MM2_TOOLS_H

#include "host.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Runs a verb of the mm2 program on checkpoints: inspect, verify, doctor, forensics, merge, convert,
 * quantize, repack, calibrate, prune, match-experts, delete-experts, kv-scales, to-megatron,
 * from-megatron, roundtrip, shard-plan, reshard, manifest, resume, tensor, synth. Options are those of
 * the program with _ for -, described in docs/checkpoints.md.
 *   verb          NUL-terminated
 *   options_json  an object with the verb's options; NULL with length 0 = none
 *   host          NULL = defaults; its progress is called and may cancel, its log gets remarks
 *   report_json   becomes the report, also when the result is MM2_E_CHECK_FAILED
 * Inputs are never written to; outputs appear whole or not at all. A verb that writes a folder OUT
 * works in OUT.partial, with OUT.journal beside it: both stay after CANCELLED, IO and OUT_OF_MEMORY,
 * and the verb resume (option out) ends the work with the same bytes. Blocks until done. Errors:
 * NOT_FOUND for an unknown verb or a missing file; INVALID_ARGUMENT for an unknown or ill-typed
 * option; CHECK_FAILED when the verb is a check and it failed; FORMAT, UNSUPPORTED, IO,
 * OUT_OF_MEMORY, CANCELLED. */
MM2_API mm2_status mm2_tool_run(const char* verb, const char* options_json, size_t length,
                                const mm2_host* host, mm2_buffer* report_json, mm2_error* err);

#ifdef __cplusplus
}
#endif
#endif
