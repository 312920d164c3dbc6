"""binary_test.py FOLDER --nvcc NVCC --root ROOT SOURCE...   compiles each source to a cubin in FOLDER, unless it is there
binary_test.py FOLDER --objects FILE...                    takes what a build made (uncompressed: nvcc -no-compress)
binary_test.py --self                                      sees that faults are found

Claims about every kernel that the CUDA plug-in holds: no local memory; no more registers and shared memory than
budgets.json allows; the instructions that it is written for are in it; and budgets.json is what docs/cuda.md shows."""

import argparse
import concurrent.futures
import hashlib
import json
import pathlib
import re
import struct
import subprocess
import sys

import cubin

HERE = pathlib.Path(__file__).resolve().parent
FLAGS = ["-std=c++20", "-gencode=arch=compute_90a,code=sm_90a", "-fmad=false", "-Werror=all-warnings", "-Xptxas=-v"]
SERIAL = "Potential Performance Loss"  # ptxas: products of the tensor core wait for each other


def plain_name(mangled):
    """The names in a mangled name, and the numbers of its template arguments: enough to tell kernels apart."""
    names, at = [], 0
    while at < len(mangled):
        found = re.compile(r"(\d+)").match(mangled, at)
        if found and at > 0 and mangled[at - 1] not in "Lij" and found.group(1)[0] != "0":
            length = int(found.group(1))
            name = mangled[found.end() : found.end() + length]
            if len(name) == length and re.fullmatch(r"[A-Za-z_]\w*", name):
                names.append(name)
                at = found.end() + length
                continue
        number = re.compile(r"L(?:[a-z]|N?[\w]*?E)(\d+)E").match(mangled, at)
        if number:
            names.append(number.group(1))
            at = number.end()
            continue
        at += 1
    return " ".join(n for n in names if n not in ("mm2", "kernels", "cuda") and n[0] != "_")


def complaints(kernel, rules, all_registers):
    rule = next((r for r in rules if re.search(r["kernel"], kernel.name)), None)
    if rule is None:
        return [f"{kernel.name}: has no line in budgets.json ({kernel.registers} registers)"]
    wrong = []
    threads = rule["threads"]
    if kernel.registers > rule["registers"]:
        wrong.append(f"takes {kernel.registers} registers, {rule['registers']} are allowed")
    if (rule["registers"] + 7) // 8 * 8 * threads > all_registers:
        wrong.append(f"a block of {threads} threads with {rule['registers']} registers does not fit")
    if kernel.shared > rule["shared"]:
        wrong.append(f"takes {kernel.shared} bytes of static shared memory, {rule['shared']} are allowed")
    local = kernel.frame != 0 or "LDL" in kernel.counts or "STL" in kernel.counts
    if local and kernel.frame > rule.get("local", 0) or local and "local" not in rule:
        wrong.append(f"uses local memory: {kernel.frame} bytes, {kernel.counts.get('LDL', 0)} loads")
    for which in ("HGMMA", "HMMA", "UBLKCP"):
        if (which in rule["holds"]) != (which in kernel.counts):
            wrong.append(f"holds {which}, which it should not" if which in kernel.counts else f"holds no {which}")
    return [f"{kernel.name}: {one}" for one in wrong]


def table(budgets):
    """The table of docs/cuda.md."""
    lines = ["| kernel | threads | registers, at most | local memory, at most | must hold |", "|---|---|---|---|---|"]
    for rule in budgets["kernels"]:
        holds = " ".join(f"`{name}`" for name in rule["holds"]) or "-"
        name = rule["kernel"].replace("|", "\\|")
        lines.append(f"| `{name}` | {rule['threads']} | {rule['registers']} | {rule.get('local', 0)} | {holds} |")
    return "\n".join(lines) + "\n"


def fingerprint(root, source):
    """Of everything that a kernel may be made of."""
    digest = hashlib.sha256(" ".join(FLAGS).encode() + source.read_bytes())
    for folder in ("kernels/api", "kernels/cuda"):
        for header in sorted((root / folder).rglob("*.h")):
            digest.update(header.read_bytes())
    return digest.hexdigest()


def compiled(nvcc, root, folder, source):
    """(cubin, complaints)"""
    target = folder / ("_".join(source.relative_to(root).parts[2:]) + ".cubin")
    stamp = target.with_suffix(".stamp")
    mark = fingerprint(root, source)
    if target.exists() and stamp.exists() and stamp.read_text() == mark:
        return target, []
    run = subprocess.run([*nvcc.split(";"), *FLAGS, f"-I{root}", "-cubin", "-o", str(target), str(source)],
                         capture_output=True, text=True, check=False)
    said = run.stdout + run.stderr
    if run.returncode != 0:
        return None, [f"{source.name}: {said.strip()[-2000:]}"]
    serial = [f"{source.name}: {line.strip()}" for line in said.splitlines() if SERIAL in line]
    if not serial:
        stamp.write_text(mark)
    return target, serial


def judge(files, budgets, docs):
    wrong, seen = [], {}
    for file in files:
        data = pathlib.Path(file).read_bytes()
        images = list(cubin.cubins(data))
        if not images and b".nv_fatbin" in data:
            wrong.append(f"{file}: no uncompressed cubin in it; is -no-compress among nvcc's options?")
        for image in images:
            for kernel in cubin.kernels(image).values():
                kernel.name = plain_name(kernel.name) if kernel.name.startswith("_Z") else kernel.name
                seen[kernel.name] = kernel
                wrong += complaints(kernel, budgets["kernels"], budgets["registers_per_multiprocessor"])
    if not seen:
        wrong.append("no kernel was found")
    for rule in budgets["kernels"]:
        if not any(re.search(rule["kernel"], name) for name in seen):
            wrong.append(f"budgets.json: no kernel is called {rule['kernel']}")
    if table(budgets) not in docs:
        wrong.append("docs/cuda.md does not hold the table of budgets.json:\n" + table(budgets))
    return wrong, seen


def self_test():
    wrong = []
    rules = [{"kernel": "k", "registers": 100, "threads": 256, "shared": 16, "holds": ["HGMMA"]}]
    good = {"registers": 100, "shared": 16, "counts": {"HGMMA": 1}}
    faults = [({}, None), ({"registers": 101}, "101 registers"), ({"shared": 17}, "17 bytes"), ({"counts": {}}, "HGMMA"),
              ({"counts": {"HGMMA": 1, "UBLKCP": 2}}, "should not"), ({"frame": 8}, "local"), ({"counts": {"HGMMA": 1, "STL": 1}}, "local"), ({"name": "other"}, "no line")]
    for change, words in faults:
        found = complaints(cubin.Kernel(**{"name": "k", **good, **change}), rules, 65536)
        if (words is None) != (not found) or (words and words not in found[0]):
            wrong.append(f"{change}: said {found}, should say {words}")
    if not complaints(cubin.Kernel(name="k", **good), [{**rules[0], "threads": 1024}], 65536):
        wrong.append("a block that does not fit is not found")
    name = "_ZN3mm27kernels4cuda12_GLOBAL__N_15k_oneINS1_7ProductILNS1_8DecodingE3ELi4EEELi128ELb1EEEvPf"
    if plain_name(name) != "k_one Product 3 4 128 1":
        wrong.append(f"{name} is shown as {plain_name(name)}")
    for broken in (b"", b"\x7fELF" + bytes(60), b"\x7fELF" + bytes(36) + struct.pack("<Q", 1 << 60) + bytes(40)):
        try:
            cubin.sections(broken)
            if len(broken) < 64:
                wrong.append("a cut ELF file is read")
        except ValueError:
            pass
    return wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=pathlib.Path)
    parser.add_argument("--nvcc")
    parser.add_argument("--root", type=pathlib.Path, default=HERE.parents[3])
    parser.add_argument("--objects", nargs="*")
    parser.add_argument("--sources", nargs="*", type=pathlib.Path, default=[])
    parser.add_argument("--self", action="store_true")
    parser.add_argument("--show", action="store_true", help="print what each kernel takes")
    asked = parser.parse_args()
    if asked.self:
        wrong, seen = self_test(), {}
    else:
        files, wrong = asked.objects or [], []
        if asked.nvcc:
            asked.folder.mkdir(parents=True, exist_ok=True)
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                done = list(pool.map(lambda s: compiled(asked.nvcc, asked.root, asked.folder, s), asked.sources))
            files = [target for target, _ in done if target]
            wrong = [one for _, some in done for one in some]
        budgets = json.loads((HERE / "budgets.json").read_text(encoding="utf-8"))
        document = asked.root / "docs/cuda.md"
        docs = document.read_text(encoding="utf-8") if document.exists() else ""
        more, seen = judge(files, budgets, docs)
        wrong += more
    if asked.show:
        for kernel in sorted(seen.values(), key=lambda k: k.name):
            print(f"{kernel.registers:4} registers {kernel.shared:6} shared {kernel.instructions:6} instructions  {kernel.name}  {kernel.counts}")
    for one in wrong:
        print(one)
    print(f"{len(seen)} kernels, {len(wrong)} faults")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
