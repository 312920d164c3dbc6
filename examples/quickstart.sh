#!/bin/bash
# From nothing to an answer: dependencies, build, a question and a tool call to the bundled model.
# With arguments: builds, then runs `mm2` with them, e.g.  examples/quickstart.sh chat examples/models/mm2-tiny
set -euo pipefail
caller=$PWD
cd "$(dirname "$0")/.."
root=$PWD

# A build of the whole project serves as well; otherwise the program alone is built, which needs fewer packages.
build=build/default
if [ ! -x $build/examples/cli/mm2 ]; then
  build=build/program
fi
if [ ! -f $build/build.ninja ]; then
  cmake/install-dependencies.sh program
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  cmake --preset default -B $build -DMM2_BUILD_TESTS=OFF >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
fi
# Says nothing when there is nothing to do.
cmake --build $build --target mm2_cli | { grep --line-buffered -v "ninja: no work to do" || true; } >&2
mm2=$root/$build/examples/cli/mm2

if [ $# -gt 0 ]; then
  cd "$caller"
  exec "$mm2" "$@"
fi

ask() {
  printf '\n> %s\n' "$1"
  "$mm2" chat examples/models/mm2-tiny -p "$@" --temperature 0 --show-reasoning
}
echo "The bundled model has 8 million parameters: it shows that the engine works, it is not there to be asked for advice."
ask "What is 47 + 38?"
ask "What is the weather in Paris?" --tools examples/tools.json
printf '\nYour turn: examples/quickstart.sh chat examples/models/mm2-tiny\n'
