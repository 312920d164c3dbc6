"""Speed and memory of the checkpoint verbs on matrices of the true shapes, beside a plain copy of the same bytes in the same minute.

    MM2_PROGRAM=.../mm2 python3 tests/bench/checkpoint_speed.py --work FOLDER [--layers 2] [--experts 64] [--repeat 3] [--verbs quantize]

FOLDER needs room for four times the checkpoint. A copy that reads n bytes and writes n has moved 2 n; the share of a verb is its bytes, read and written, per second over those of the copy. There are two fair
pairs, and both are measured:

    safe        `cp -r` and `sync` of the files, beside the verb as it is: both end when every byte is on the disk
    in memory   `cp -r`, beside the verb with fsync and sync_file_range turned into nothing (a preloaded library): both end when every byte is in the page cache

Every timed command comes right after a copy of the source that is made and removed untimed, so that the pages that it takes are warm; the best of --repeat is kept of each. Figures of the 230 GB model are
extrapolated from measured bytes per second.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import time

PROGRAM = os.environ["MM2_PROGRAM"]
FULL_READ, GB = 230.0e9, 1e9
NO_SYNC = "int fsync(int f){(void)f;return 0;} int fdatasync(int f){(void)f;return 0;} int sync_file_range(int f,long a,long b,unsigned c){(void)f;(void)a;(void)b;(void)c;return 0;}"


def size(folder):
    return sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder))


def timed(command, environment=None):
    """(seconds, peak RSS in MB, standard output); (None, peak, standard error) of one that failed"""
    begin = time.monotonic()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    out = process.stdout.read()
    error = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        return None, usage.ru_maxrss / 1024, error.decode()
    return time.monotonic() - begin, usage.ru_maxrss / 1024, out.decode()


def read_once(folder):
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb", buffering=0) as file:
            while file.read(8 << 20):
                pass


def copy(source, target, synced):
    """Seconds."""
    shutil.rmtree(target, ignore_errors=True)
    begin = time.monotonic()
    subprocess.run(["cp", "-r", source, target], check=True)
    if synced:
        subprocess.run(["sync", *(os.path.join(target, name) for name in os.listdir(target))], check=True)
    seconds = time.monotonic() - begin
    shutil.rmtree(target)
    return seconds


def without_sync(work):
    """The environment in which nothing waits for the disk; None without a C compiler."""
    library = os.path.join(work, "nosync.so")
    with open(os.path.join(work, "nosync.c"), "w") as file:
        file.write(NO_SYNC)
    if subprocess.run(["cc", "-shared", "-fPIC", "-o", library, os.path.join(work, "nosync.c")]).returncode != 0:
        return None
    return dict(os.environ, LD_PRELOAD=library)


def measure(command, source, target, out, environment, synced, repeat):
    """Best seconds of the copy and of the verb, and its peak RSS; a sentence where it failed."""
    copies, runs, peaks = [], [], []
    for _ in range(repeat):
        copy(source, target, False)
        copies.append(copy(source, target, synced))
        shutil.rmtree(out, ignore_errors=True)
        copy(source, target, False)
        seconds, peak, text = timed([*command, "--progress", "none"], environment)
        if seconds is None:
            return text.strip()
        runs.append(seconds)
        peaks.append(peak)
    return min(copies), min(runs), max(peaks)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", required=True)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--experts", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--verbs", default="", help="rows that begin with one of these")
    parser.add_argument("--safe-only", action="store_true", help="leave out the pair in memory")
    options = parser.parse_args()
    source, other, out, copied = (os.path.join(options.work, n) for n in ("parent", "other", "out", "copied"))
    for folder, seed in ((source, 0), (other, 1)):
        if not os.path.exists(folder):
            seconds, _, text = timed([PROGRAM, "synth", "--layers", options.layers, "--experts", options.experts, "--seed", seed, "-o", folder])
            if seconds is None:
                sys.exit(text)
    keep = options.experts * 3 // 4
    mask = os.path.join(options.work, "mask.json")
    with open(mask, "w") as file:
        json.dump({str(layer): list(range(keep, options.experts)) for layer in range(options.layers)}, file)
    verbs = {
        "reshard": [source],
        "delete-experts, a quarter": [source],
        "quantize W4A16 RTN (AutoRound layout)": [source, "--format", "auto_round"],
        "quantize W4A16 RTN, errors measured": [source, "--format", "auto_round", "--errors"],
        "quantize NVFP4": [source, "--format", "nvfp4"],
        "convert to BF16": [source, "--to", "bf16"],
        "merge slerp t=0.5, amax": [source, other, "--t", "0.5", "--scale-search", "amax"],
        "merge slerp t=0.5, MSE": [source, other, "--t", "0.5", "--scale-search", "mse"],
        "merge della": [source, other, "--method", "della", "--base", source, "--weights", "[1,1]", "--parameters", '{"density":0.4}'],
        "forensics": [source, other],
        "verify --deep --hash": [source, "--deep", "--hash"],
    }
    quiet = None if options.safe_only else without_sync(options.work)
    print(f"{size(source) / GB:.2f} GB, {options.layers} layers of {options.experts} experts; best of {options.repeat}; 230 GB: by arithmetic\n")
    in_memory = " s, in memory | GB/s | cp GB/s | share |" if quiet else ""
    print(f"| verb | GB read | GB written | s, safe | GB/s | cp + sync GB/s | share |{in_memory} peak MB | 230 GB in |")
    print("|---|---|---|---|---|---|---|" + "---|" * (6 if quiet else 2))
    for name, arguments in verbs.items():
        if options.verbs and not any(name.startswith(verb) for verb in options.verbs.split(",")):
            continue
        verb = name.split()[0].rstrip(",")
        both = other in arguments
        read_once(source)
        if both:
            read_once(other)
        command = [PROGRAM, verb, *arguments]
        if verb == "delete-experts":
            command += [out, "--deleted-experts-file", mask, "--num-original-experts", options.experts, "--num-retained-experts", keep]
        elif verb not in ("forensics", "verify"):
            command += ["-o", out]
        row, full, peak = "", 0, 0
        for synced, environment in ((True, None), (False, quiet)):
            if environment is None and not synced:
                continue
            measured = measure(command, source, copied, out, environment, synced, options.repeat)
            if isinstance(measured, str):
                row = f" {measured} |"
                break
            n_read = size(source) * (2 if both else 1)
            n_written = size(out) if os.path.exists(out) else 0
            speed, probe = (n_read + n_written) / measured[1], 2 * size(source) / measured[0]
            if synced:
                row = f" {n_read / GB:.2f} | {n_written / GB:.2f} |"
                full = FULL_READ / size(source) * measured[1] / 60
            row += f" {measured[1]:.2f} | {speed / GB:.2f} | {probe / GB:.2f} | {100 * speed / probe:.0f} % |"
            peak = max(peak, measured[2])
        print(f"| {name} |{row} {peak:.0f} | {full:.0f} min |", flush=True)
        shutil.rmtree(out, ignore_errors=True)


if __name__ == "__main__":
    main()
