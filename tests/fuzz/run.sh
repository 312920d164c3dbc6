#!/bin/bash
# Fuzzing under AddressSanitizer and UndefinedBehaviorSanitizer, one target after the other:
#
#   tests/fuzz/run.sh [SECONDS [TARGET...]]     60 s and all targets by default
#
# Needs clang-14 with libFuzzer (cmake/install-dependencies.sh fuzz). What is learnt stays in build/fuzz/corpus, an input
# that fails in build/fuzz/failures; the last lines tell how many inputs each target ran.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-60}
shift || true
all=(fuzz_tokenizer fuzz_tokenizer_json fuzz_template fuzz_template_context fuzz_codec fuzz_tool_schema fuzz_safetensors fuzz_config fuzz_torch_file)
targets=("${@:-${all[@]}}")
cmake --preset fuzz >/dev/null
cmake --build build/fuzz --target "${targets[@]}" >&2
mkdir -p build/fuzz/failures
summary=""
for target in "${targets[@]}"; do
  seeds=tests/fuzz/seeds/$target
  corpus=build/fuzz/corpus/$target
  dict=$(sed -n "s/^mm2_fuzz($target .*DICT \(.*\))/\1/p" tests/fuzz/CMakeLists.txt)
  mkdir -p "$corpus"
  log=build/fuzz/$target.log
  # Slow inputs are a matter of budgets, which are tested; the limits here only end what hangs.
  if ! build/fuzz/tests/fuzz/"$target" -max_total_time="$seconds" -max_len=4096 -timeout=120 -rss_limit_mb=4096 -print_final_stats=1 \
    -dict=tests/fuzz/"$dict" -artifact_prefix=build/fuzz/failures/"$target"- "$corpus" "$seeds" >"$log" 2>&1; then
    tail -n 60 "$log"
    exit 1
  fi
  summary+=$(awk -v name="$target" '/number_of_executed_units/ {n = $2} /^Done/ {s = $(NF - 1)}
    END {printf "%-24s %12d inputs in %d s, no failure", name, n, s}' "$log")$'\n'
done
printf '%s' "$summary"
