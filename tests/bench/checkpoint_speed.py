"""Speed and memory of the checkpoint verbs on matrices of the true shapes, beside a plain copy of the same bytes in the same minute.

    MM2_PROGRAM=.../mm2 python3 tests/bench/checkpoint_speed.py --work FOLDER [--layers 2] [--experts 64]

FOLDER needs room for four times the checkpoint. A copy reads n bytes and writes n, and is synced, as the output of a verb is; the share of a verb is its bytes (read and written)
per second over those of the copy. Figures of the 230 GB model are extrapolated from measured bytes per second and marked so.
"""
import argparse
import json
import os
import resource  # noqa: F401: os.wait4 needs the type
import shutil
import subprocess
import sys
import time

PROGRAM = os.environ["MM2_PROGRAM"]
FULL_READ, GB = 230.0e9, 1e9


def size(folder):
    return sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder))


def timed(command):
    """(seconds, peak RSS in MB, standard output)"""
    begin = time.monotonic()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
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


def copy_speed(source, target):
    """Bytes read and written per second."""
    shutil.rmtree(target, ignore_errors=True)
    n = size(source)
    begin = time.monotonic()
    subprocess.run(["cp", "-r", source, target], check=True)
    subprocess.run(["sync", *(os.path.join(target, name) for name in os.listdir(target))], check=True)
    seconds = time.monotonic() - begin
    shutil.rmtree(target)
    return 2 * n / seconds


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", required=True)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--experts", type=int, default=64)
    parser.add_argument("--verbs", default="")
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
        "merge slerp t=0.5, amax": [source, other, "--t", "0.5"],
        "merge slerp t=0.5, MSE": [source, other, "--t", "0.5", "--scale-search", "mse"],
        "forensics": [source, other],
        "verify --deep --hash": [source, "--deep", "--hash"],
    }
    print(f"{size(source) / GB:.2f} GB, {options.layers} layers of {options.experts} experts; 230 GB: by arithmetic\n")
    print("| verb | GB read | GB written | s | GB/s | copy GB/s | share | peak MB | 230 GB in |\n|---|---|---|---|---|---|---|---|---|")
    for name, arguments in verbs.items():
        if options.verbs and not name.startswith(options.verbs):
            continue
        verb = name.split()[0].rstrip(",")
        shutil.rmtree(out, ignore_errors=True)
        read_once(source)
        probe = copy_speed(source, copied)
        command = [PROGRAM, verb, *arguments]
        if verb == "delete-experts":
            command += [out, "--deleted-experts-file", mask, "--num-original-experts", options.experts, "--num-retained-experts", keep]
        elif verb not in ("forensics", "verify"):
            command += ["-o", out]
        seconds, peak, text = timed(command + ["--progress", "none"])
        if seconds is None:
            print(f"| {name} | {text.strip()} |")
            continue
        n_read = size(source) * (2 if other in arguments else 1)
        n_written = size(out) if os.path.exists(out) else 0
        speed = (n_read + n_written) / seconds
        full = FULL_READ / size(source) * seconds / 60
        print(f"| {name} | {n_read / GB:.2f} | {n_written / GB:.2f} | {seconds:.2f} | {speed / GB:.2f} | {probe / GB:.2f} | {100 * speed / probe:.0f} % | "
              f"{peak:.0f} | {full:.0f} min |", flush=True)
        shutil.rmtree(out, ignore_errors=True)


if __name__ == "__main__":
    main()
