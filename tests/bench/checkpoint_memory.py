"""Peak memory of every checkpoint verb on a checkpoint with layers of the true shapes: 13.5 GB in FP8 with three layers of 256 experts.

    MM2_PROGRAM=.../mm2 python3 tests/bench/checkpoint_memory.py --work FOLDER [--layers 3] [--only merge,doctor]

FOLDER needs room for four times the checkpoint (the widest output is BF16). Prints a table; fails where a verb fails or takes more than 2 GB.
"""
import argparse
import json
import os
import shutil
import sys

from checkpoint_speed import GB, PROGRAM, size, timed

BAR_MB = 2000


def steps(at, layers):
    """(label, arguments, what it writes, what may go afterwards)"""
    model, other, out = at("model"), at("other"), at("out")
    ranks = ["--tp", "2", "--ep", "4"]
    return [
        ("inspect", ["inspect", model], None, []),
        ("verify --deep --hash", ["verify", model, "--deep", "--hash"], None, []),
        ("doctor --deep --engine vllm --tp 4", ["doctor", model, "--deep", "--engine", "vllm", "--tp", "4"], None, []),
        ("shard-plan --tp 4 --ep 4", ["shard-plan", model, "--tp", "4", "--ep", "4"], None, []),
        ("forensics", ["forensics", model, other, "--out", at("scan.json"), "--svg", at("t.svg")], None, []),
        ("merge slerp, t from forensics, MSE", ["merge", model, other, "--t-from", at("scan.json"), "-o", out], out, [out]),
        ("merge ties", ["merge", model, other, "--method", "ties", "--base", model, "--weights", "[1,1]", "--parameters", '{"density":0.4}', "-o", out], out, [out]),
        ("merge della", ["merge", model, other, "--method", "della", "--base", model, "--weights", "[1,1]", "--parameters", '{"density":0.4}', "-o", out], out, [out]),
        ("reshard", ["reshard", model, "--max-shard", "3G", "-o", out], out, [out]),
        ("calibrate, 4096 tokens: reap, imatrix, act, kv", ["calibrate", model, at("tokens.jsonl"), "--collect", "reap,imatrix,act,kv", "-o", at("stats.safetensors")],
         at("stats.safetensors"), []),
        ("prune a quarter", ["prune", model, "--stats", at("stats.safetensors"), "--ratio", "0.25", "--mask-out", at("mask.json"), "-o", at("pruned")], at("pruned"), []),
        ("match-experts", ["match-experts", model, at("pruned"), "--save-deleted-experts", at("found.json")], None, []),
        ("delete-experts --compare-with", ["delete-experts", model, out, "--num-original-experts", "256", "--num-retained-experts", "192", "--compare-with", at("pruned")],
         out, [out, at("pruned")]),
        ("quantize auto_round --errors", ["quantize", model, "--format", "auto_round", "--errors", "-o", at("w4")], at("w4"), []),
        ("repack to gptq", ["repack", at("w4"), "--to", "gptq", "-o", out], out, [out, at("w4")]),
        ("quantize auto_round, opt-rtn with imatrix, attention", ["quantize", model, "--format", "auto_round", "--algo", "opt-rtn", "--stats", at("stats.safetensors"), "--only",
         "attention", "-o", out], out, [out]),
        ("quantize ct_mxfp4", ["quantize", model, "--format", "ct_mxfp4", "-o", out], out, [out]),
        ("quantize nvfp4", ["quantize", model, "--format", "nvfp4", "--stats", at("stats.safetensors"), "-o", at("nvfp4")], at("nvfp4"), []),
        ("kv-scales --stats", ["kv-scales", at("nvfp4"), "--stats", at("stats.safetensors"), "-o", out], out, [out]),
        ("doctor --fix", ["doctor", at("nvfp4"), "--fix", "-o", out], out, [out, at("nvfp4")]),
        ("to-megatron --tp 2 --ep 4", ["to-megatron", model, *ranks, "-o", at("ranks")], at("ranks"), []),
        ("from-megatron --tp 2 --ep 4", ["from-megatron", at("ranks"), "--config", model, *ranks, "-o", out], out, [out, at("ranks")]),
        ("roundtrip --tp 2 --ep 4", ["roundtrip", model, "--chain", "to-megatron,from-megatron", *ranks], None, []),
        ("convert to BF16", ["convert", model, "--to", "bf16", "-o", out], out, [out]),
    ]


def bytes_of(path):
    if path is None or not os.path.exists(path):
        return 0
    if os.path.isfile(path):
        return os.path.getsize(path)
    return sum(os.path.getsize(os.path.join(place, name)) for place, _, names in os.walk(path) for name in names)


def remove(path):
    """With what a failed run left of it."""
    for one in (path, path + ".partial", path + ".journal"):
        if os.path.isdir(one):
            shutil.rmtree(one)
        elif os.path.exists(one):
            os.remove(one)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", required=True)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--only", default="", help="labels that begin with one of these")
    options = parser.parse_args()

    def at(name):
        return os.path.join(options.work, name)

    print("| verb | GB written | s | peak MB |\n|---|---|---|---|", flush=True)
    if not os.path.exists(at("model")):
        seconds, peak, text = timed([PROGRAM, "synth", "--layers", options.layers, "-o", at("model"), "--progress", "none"])
        if seconds is None:
            sys.exit(text)
        print(f"| synth --layers {options.layers} | {size(at('model')) / GB:.1f} | {seconds:.0f} | {peak:.0f} |", flush=True)
    if not os.path.exists(at("other")):
        seconds, _, text = timed([PROGRAM, "synth", "--layers", options.layers, "--seed", 1, "-o", at("other"), "--progress", "none"])
        if seconds is None:
            sys.exit(text)
    with open(at("tokens.jsonl"), "w") as file:
        for sample in range(8):
            file.write(json.dumps({"ids": [(7919 * sample + 104729 * k) % 200000 for k in range(512)]}) + "\n")
    failed = False
    for label, arguments, written, done_with in steps(at, options.layers):
        if options.only and not any(label.startswith(one) for one in options.only.split(",")):
            continue
        if written is not None:
            remove(written)
        seconds, peak, text = timed([PROGRAM, *arguments, "--progress", "none"])
        failed |= seconds is None or peak > BAR_MB
        print(f"| {label} | {bytes_of(written) / GB:.1f} | {'failed: ' + text.strip() if seconds is None else f'{seconds:.0f}'} | {peak:.0f} |", flush=True)
        for path in done_with:
            remove(path)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
