#!/bin/sh
# Installs the Debian packages that mm2 needs. Quick when they are there; as root or through sudo; asks nothing.
#
#   cmake/install-dependencies.sh            the library, the mm2 program, the examples and the tests
#   cmake/install-dependencies.sh program    the library and the mm2 program only
#   cmake/install-dependencies.sh fuzz       those of the fuzz preset as well: clang with libFuzzer
#   cmake/install-dependencies.sh clients    for tests/server: chromium, and into build/clients the openai and anthropic packages
#   cmake/install-dependencies.sh --list     prints the names, installs nothing
set -eu

program="g++ libc6-dev cmake ninja-build pkg-config libabsl-dev nlohmann-json3-dev libeigen3-dev libxxhash-dev libcli11-dev libcpp-httplib-dev libedit-dev libyaml-cpp-dev"
python="pybind11-dev python3-dev python3-numpy python3-venv"
tests="binutils catch2 python3 ccache doxygen mypy $python"
fuzz="clang-14 libclang-rt-14-dev"

# Their absence skips tests; it is no reason to stop.
install_clients() {
  folder="$(dirname "$0")/../build/clients"
  "$folder/bin/python" -c "import openai, anthropic" 2>/dev/null && return
  python3 -m venv "$folder" && "$folder/bin/pip" install -q --disable-pip-version-check openai anthropic ||
    echo "$0: the openai and anthropic packages could not be installed; the tests that need them are skipped" >&2
}

case "${1:-all}" in
  program) wanted="$program" ;;
  all) wanted="$program $tests" ;;
  fuzz) wanted="$program $tests $fuzz" ;;
  clients) wanted="chromium"; trap install_clients EXIT ;;
  --list) echo "$program $tests"; exit 0 ;;
  *) echo "usage: $0 [program|all|fuzz|clients|--list]" >&2; exit 1 ;;
esac

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  echo "$0: not a Debian system; nothing was installed. Wanted are the equivalents of: $wanted" >&2
  exit 0
fi

missing=""
# dpkg-query fails when one name is unknown to it; the names it did print are still right.
present=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' $wanted 2>/dev/null | sed -n 's/^installed //p') || true
for package in $wanted; do
  echo "$present" | grep -qx "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

as_root=""
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || { echo "$0: needs root or sudo to install:$missing" >&2; exit 1; }
  as_root="sudo"
fi
echo "installing$missing" >&2
export DEBIAN_FRONTEND=noninteractive
install="$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends -o Dpkg::Use-Pty=0"
# The lists of packages may be absent or old: try with what is there, then with fresh ones.
$install $missing >/dev/null 2>&1 || {
  $as_root apt-get update -q
  $install $missing
}
