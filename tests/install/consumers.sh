#!/bin/bash
# consumers.sh SOURCE BUILD WHAT: one claim about installed or embedded use of mm2. CC, CXX and FLAGS come from the test.
set -euo pipefail
source=$1 build=$2 what=$3
here=$source/tests/install
work=$build/install-test
moved=$work/moved/tree
flags=${FLAGS:-}

configure() { cmake -G Ninja -S "$1" -B "$2" -DCMAKE_BUILD_TYPE=Release "-DCMAKE_C_FLAGS=$flags" "-DCMAKE_CXX_FLAGS=$flags" "${@:3}" >"$2.log" 2>&1 ||
  { cat "$2.log"; exit 1; }; }
run_all() { for program in "$@"; do "$program" | grep -x "mm2 [0-9.]* works" || { echo "$program failed"; exit 1; }; done; }

case $what in
  install)
    rm -rf "$work"
    mkdir -p "$work/moved"
    cmake --install "$build" --prefix "$work/first" >"$work/install.log"
    mv "$work/first" "$moved"
    ;;
  relocatable)
    if grep -rlIE "$work/first|$source" "$moved/include" "$moved"/lib*/cmake "$moved"/lib*/pkgconfig; then exit 1; fi
    ;;
  find_package)
    rm -rf "$work/find_package"
    mkdir -p "$work/find_package"
    only=OFF
    ls "$moved"/lib*/cmake/mm2/mm2-static.cmake >/dev/null 2>&1 || only=ON
    configure "$here/find_package" "$work/find_package/b" "-DCMAKE_PREFIX_PATH=$moved" "-DSHARED_ONLY=$only"
    cmake --build "$work/find_package/b" >"$work/find_package/build.log" || { cat "$work/find_package/build.log"; exit 1; }
    run_all "$work"/find_package/b/c*_s*
    ;;
  find_package_shared_only)
    rm -rf "$work/shared_only"
    mkdir -p "$work/shared_only"
    configure "$here/find_package" "$work/shared_only/b" "-DCMAKE_PREFIX_PATH=$moved" -DWITHOUT_ABSL=ON
    ;;
  pkg_config)
    PKG_CONFIG_PATH=$(echo "$moved"/lib*/pkgconfig)
    export PKG_CONFIG_PATH
    libdir=$(pkg-config --variable=libdir mm2)
    out=$work/pkg_config
    mkdir -p "$out"
    $CC $flags -std=c99 "$here/consumer.c" -o "$out/c_shared" $(pkg-config --cflags --libs mm2) "-Wl,-rpath,$libdir"
    $CXX $flags -std=c++17 "$here/consumer.cpp" -o "$out/cpp_shared" $(pkg-config --cflags --libs mm2) "-Wl,-rpath,$libdir"
    run_all "$out/c_shared" "$out/cpp_shared"
    if [ -f "$libdir/libmm2.a" ]; then
      static=$(pkg-config --static --libs mm2 | sed 's/-lmm2\b/-l:libmm2.a/')
      $CC $flags -std=c99 "$here/consumer.c" -o "$out/c_static" $(pkg-config --cflags mm2) $static
      run_all "$out/c_static"
    fi
    ;;
  readme) # the program in README.md is one, against the installed tree and the bundled model
    mkdir -p "$work/readme"
    awk '/^```/ {inside = ($0 == "```c"); next} inside' "$source/README.md" >"$work/readme/readme.c"
    PKG_CONFIG_PATH=$(echo "$moved"/lib*/pkgconfig)
    export PKG_CONFIG_PATH
    $CC $flags -std=c99 -Wall -Wextra -Werror "$work/readme/readme.c" -o "$work/readme/readme" $(pkg-config --cflags --libs mm2) \
      "-Wl,-rpath,$(pkg-config --variable=libdir mm2)"
    cd "$source"
    ASAN_OPTIONS=detect_leaks=0 "$work/readme/readme" | grep "^ Tokyo\."
    ;;
  ctypes)
    python3 -B "$here/consumer.py" "$(echo "$moved"/lib*/libmm2.so.0)" "$source/examples/models/mm2-tiny" | grep -x "mm2 [0-9.]* works"
    ;;
  wheel) # built from this tree, installed into a new environment on another path, used from there
    python=${PYTHON:-python3}
    work=$work-wheel
    rm -rf "$work"
    mkdir -p "$work"
    "$python" -m venv "$work/first"
    if ! "$work/first/bin/pip" install -q "scikit-build-core>=0.10" >"$work/pip.log" 2>&1; then
      echo "skipped: scikit-build-core cannot be fetched here, and a wheel is built with it"
      exit 77
    fi
    # With the system's pybind11, as the build that holds this test: then a compiler cache has every object already.
    (cd "$source" && PATH=$work/first/bin:$PATH "$work/first/bin/pip" wheel -q --no-build-isolation --no-deps -w "$work/wheels" .) \
      >"$work/wheel.log" 2>&1 || { tail -50 "$work/wheel.log"; exit 1; }
    "$python" -m venv "$work/second"
    mv "$work/second" "$work/elsewhere"
    "$work/elsewhere/bin/python" -m pip install -q "$work"/wheels/mm2-*.whl >"$work/install.log" 2>&1 || { cat "$work/install.log"; exit 1; }
    cd "$work"
    "$work/elsewhere/bin/python" -c "
import mm2, sys
from mm2 import kernels
engine = mm2.load('$source/examples/models/mm2-tiny').engine()
assert engine.chat([{'role': 'user', 'content': 'What is 47 + 38?'}], temperature=0).content == '47 + 38 = 85'
assert mm2.__file__.startswith('$work/elsewhere/') and 'linear' in kernels.describe()['operations']
print('mm2', mm2.__version__, 'works')" | grep -x "mm2 [0-9.]* works"
    library=$(echo "$work"/elsewhere/lib/python*/site-packages/mm2/libmm2.so.0)  # lib64 is a link to it
    readelf -d "${library%/*}"/_core*.so | grep -q 'R.*PATH.*\[$ORIGIN\]'
    ;;
  add_subdirectory)
    # What is tested is the build description. The options are those of the build that holds this test, so that a
    # compiler cache has the objects already; without one they are compiled as cheaply as possible.
    mkdir -p "$work-subdirectory"
    cheap=("-DCMAKE_CXX_FLAGS_RELEASE=-O0")
    if command -v ccache >/dev/null; then
      cheap=("-DCMAKE_CXX_COMPILER_LAUNCHER=ccache" "-DMM2_WARNINGS_AS_ERRORS=ON")
    fi
    configure "$here/add_subdirectory" "$work-subdirectory/b" "-DMM2_SOURCE=$source" "${cheap[@]}"
    cmake --build "$work-subdirectory/b" --target c_shared cpp_static >"$work-subdirectory/build.log" || { tail -50 "$work-subdirectory/build.log"; exit 1; }
    run_all "$work-subdirectory/b/c_shared" "$work-subdirectory/b/cpp_static"
    ;;
  *) echo "unknown: $what"; exit 1 ;;
esac
