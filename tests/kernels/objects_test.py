"""Code for one instruction set must not be met by a machine that lacks it.

usage: objects_test.py COMPILER SOURCE_DIR ROOMS_DIR OBJECT...

Looks at the objects of kernels/cpu as they were built, and at the same sources compiled with -O1, where less is inlined.
"""

import pathlib
import re
import subprocess
import sys
import tempfile

# What may not appear in a room's code, as registers.
FORBIDDEN = {"layout": r"%[yz]mm|%k[0-7]", "generic": r"%[yz]mm|%k[0-7]", "avx2": r"%zmm|%k[0-7]", "avx512": None}
FLAGS = {
    "layout": "",
    "generic": "",
    "avx2": "-mavx2 -mfma -mf16c -mbmi2",
    "avx512": "-mavx2 -mfma -mf16c -mbmi2 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vbmi -mavx512vbmi2 -mavx512vnni -mavx512bf16",
}


def output_of(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def faults_of(room, name):
    if FORBIDDEN[room]:
        code = output_of("objdump", "-d", "--no-show-raw-insn", name)
        found = re.search(r"^.*(" + FORBIDDEN[room] + r").*$", code, re.M)
        if found:
            yield f"{name}: {found.group(0).strip()}"
    if room in ("avx2", "avx512"):
        # A weak symbol is kept once for the whole library, perhaps from here.
        for line in output_of("nm", "-C", name).splitlines():
            if re.match(r"^[0-9a-f ]{17}[WVu] ", line):
                yield f"{name}: weak symbol {line[19:]}"


def main(compiler, source, rooms, *objects):
    faults, seen = [], {room: 0 for room in FORBIDDEN}
    for name in objects:
        room = re.search(r"kernels/cpu/(\w+)/", name).group(1)
        seen[room] += 1
        faults += faults_of(room, name)
    includes = [f"-I{folder}" for folder in pathlib.Path(rooms).glob("mm2_kernels_*")]
    with tempfile.TemporaryDirectory() as folder:
        for room, flags in FLAGS.items():
            for file in sorted(pathlib.Path(source, "kernels/cpu", room).glob("*.cpp")):
                target = f"{folder}/{room}_{file.stem}.o"
                subprocess.run([compiler, "-std=c++20", "-O1", "-ffp-contract=off", *flags.split(), *includes, "-c", file, "-o", target], check=True)
                faults += faults_of(room, target)
    faults += [f"no object of kernels/cpu/{room} was looked at" for room, n in seen.items() if n == 0]
    print("\n".join(faults) or f"{len(objects)} objects are clean")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
