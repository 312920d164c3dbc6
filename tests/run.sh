#!/bin/bash
# Dependencies, build, the whole suite; then the suite once more under AddressSanitizer and UndefinedBehaviorSanitizer,
# without what looks at source text or installed trees only.  tests/run.sh --quick leaves the second half out.
set -euo pipefail
cd "$(dirname "$0")/.."
step() { echo "== $* (${SECONDS} s)"; }
quietly() {
  local log
  log=$(mktemp)
  "$@" >"$log" 2>&1 || { tail -n 100 "$log"; rm -f "$log"; exit 1; }
  rm -f "$log"
}

step "dependencies"
cmake/install-dependencies.sh
step "build, release"
quietly cmake --preset default
quietly cmake --build --preset default
if [ "${1:-}" != "--quick" ]; then
  step "build, sanitizers"
  quietly cmake --preset dev
  quietly cmake --build --preset dev
  step "test, sanitizers"
  ctest --preset dev --quiet --output-on-failure -LE 'house|install'
fi
step "test, release"
ctest --preset default
step "done"
