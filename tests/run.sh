#!/bin/bash
# Dependencies, build, the whole suite.  tests/run.sh --sanitizers runs it once more under AddressSanitizer and
# UndefinedBehaviorSanitizer first, without the programs and what looks at source text or installed trees only;
# tests/run.sh --fuzz lets libFuzzer try each reader of foreign text for 20 s instead (clang-14).
set -euo pipefail
cd "$(dirname "$0")/.."
step() { echo "== $* (${SECONDS} s)"; }
quietly() {
  local log
  log=$(mktemp)
  "$@" >"$log" 2>&1 || { tail -n 100 "$log"; rm -f "$log"; exit 1; }
  rm -f "$log"
}

if [ "${1:-}" = "--fuzz" ]; then
  cmake/install-dependencies.sh fuzz
  exec tests/fuzz/run.sh 20
fi
step "dependencies"
cmake/install-dependencies.sh
cmake/install-dependencies.sh clients || true # without them some tests are skipped
# The CUDA plug-in is built where there is a compiler for it; no GPU is needed.
cuda=OFF
nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null || true)
if [ -n "$nvcc" ]; then
  export CUDACXX="$nvcc"
  cuda=ON
fi
step "build, release, CUDA $cuda"
quietly cmake --preset default -DMM2_CUDA="$cuda"
quietly cmake --build --preset default
if [ "${1:-}" = "--sanitizers" ]; then
  step "build, sanitizers"
  quietly cmake --preset dev -B build/checked -DMM2_BUILD_EXAMPLES=OFF
  quietly cmake --build build/checked
  step "test, sanitizers"
  quietly ctest --test-dir build/checked -j 2 --output-on-failure -LE 'house|install'
fi
step "test, release"
ctest --preset default
step "done"
