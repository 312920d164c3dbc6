#!/bin/sh
# Puts the source of Debian's abseil into a folder (default build/abseil), for MM2_ABSL_SOURCE_DIR: the tsan preset
# needs it, because the system's abseil is built without ThreadSanitizer and makes correct code look like a race.
# Uses the system's own package sources, with lists of its own, and changes nothing outside the folder.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
into=${1:-$here/build/abseil}
[ ! -f "$into/CMakeLists.txt" ] || exit 0
for tool in apt-get dpkg-source; do
  command -v "$tool" >/dev/null || { echo "$0: needs $tool (package dpkg-dev)" >&2; exit 1; }
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/parts" "$work/lists/partial"
for list in /etc/apt/sources.list.d/*.sources; do
  [ ! -f "$list" ] || sed 's/^Types:.*/Types: deb-src/' "$list" >"$work/parts/$(basename "$list")"
done
for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
  [ ! -f "$list" ] || sed -n 's/^deb /deb-src /p' "$list" >"$work/parts/$(basename "$list" .list).list"
done
cd "$work"
apt="apt-get -q -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts=$work/parts -o Dir::State::Lists=$work/lists -o APT::Sandbox::User=root"
$apt update >apt.log 2>&1 && $apt source abseil >>apt.log 2>&1 || { tail -5 apt.log >&2; exit 1; }
mkdir -p "$(dirname "$into")"
rm -rf "$into"
mv abseil-*/ "$into"
echo "abseil's source is in $into"
