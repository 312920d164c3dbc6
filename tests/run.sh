#!/bin/bash
# Dependencies, build, the whole suite; then the tests of the rooms once more under AddressSanitizer and
# UndefinedBehaviorSanitizer.  tests/run.sh [--quick]: --quick leaves the second half out.
set -euo pipefail
cd "$(dirname "$0")/.."
quick=${1:-}
step() { echo "== $* (${SECONDS} s)"; }

step "dependencies"
cmake/install-dependencies.sh
step "build, release"
cmake --preset default >build-configure.log 2>&1 || { cat build-configure.log; rm -f build-configure.log; exit 1; }
rm -f build-configure.log
cmake --build --preset default
step "test, release"
ctest --preset default | tail -n 25
if [ "$quick" != "--quick" ]; then
  step "build, sanitizers"
  cmake --preset dev >/dev/null
  cmake --build --preset dev --target mm2_checked_tests
  step "test, sanitizers"
  ctest --preset dev -L checked | tail -n 25
fi
step "done"
