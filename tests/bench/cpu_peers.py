#!/usr/bin/env python3
"""Layers of MiniMax-M2's shape in llama.cpp and in mm2, and one product in PyTorch and in mm2, in turns.

  cpu_peers.py --mm2 MM2 --llama-bench LLAMA_BENCH --gguf-py FOLDER --folder FOLDER [--gemm-bench GEMM_BENCH]

Both run 1 layer and 3 (192 experts, 8 of them for each token) with a small vocabulary. What is printed is one layer of the
difference: llama.cpp leaves out most of the last layer for tokens whose logits nobody wants, so that one layer alone says
nothing. Its formats are the nearest to ours: Q4_0 has 4.5 bits a weight (w4: 4.125), Q8_0 8.5 (fp8: 8). Weights are random, so
the experts of each token are too. A table: milliseconds a layer for prompts of 64 and 512 tokens and for one decoded token, and
for the last the GB/s of the weights that it needs, by arithmetic from each format's own bits.
"""
import argparse
import json
import os
import subprocess
import sys

HIDDEN, INNER, EXPERTS, TOP_K, HEADS, KV_HEADS, HEAD_DIM, VOCAB = 3072, 1536, 192, 8, 48, 8, 128, 1024
PAIRS = [("w4", "Q4_0", 4.125, 4.5), ("fp8", "Q8_0", 8.0, 8.5)]
FEW, MANY = 1, 3  # layers


def write_gguf(path, kind, n_layers, gguf, np):
    random = np.random.default_rng(1)
    writer = gguf.GGUFWriter(path, "minimax-m2")
    writer.add_vocab_size(VOCAB)
    writer.add_context_length(4096)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(n_layers)
    writer.add_feed_forward_length(INNER)
    writer.add_expert_feed_forward_length(INNER)
    writer.add_expert_count(EXPERTS)
    writer.add_expert_used_count(TOP_K)
    writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_key_length(HEAD_DIM)
    writer.add_value_length(HEAD_DIM)
    writer.add_rope_dimension_count(64)
    writer.add_rope_freq_base(5e6)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model("none")

    def vector(name, n, value):
        writer.add_tensor(name, np.full(n, value, np.float32))

    def matrix(name, *shape):
        n = int(np.prod(shape))
        blocks = random.integers(0, 256, (n // 32, 18 if kind == "Q4_0" else 34), dtype=np.uint8)
        blocks[:, :2] = np.frombuffer(np.float16(0.003 if kind == "Q4_0" else 0.0002).tobytes(), np.uint8)
        data = blocks.reshape(*shape[:-1], -1)
        writer.add_tensor(name, data, raw_dtype=gguf.GGMLQuantizationType[kind])

    matrix("token_embd.weight", VOCAB, HIDDEN)
    matrix("output.weight", VOCAB, HIDDEN)
    vector("output_norm.weight", HIDDEN, 1)
    for layer in range(n_layers):
        at = f"blk.{layer}."
        vector(at + "attn_norm.weight", HIDDEN, 1)
        vector(at + "ffn_norm.weight", HIDDEN, 1)
        vector(at + "attn_q_norm.weight", HEADS * HEAD_DIM, 1)
        vector(at + "attn_k_norm.weight", KV_HEADS * HEAD_DIM, 1)
        matrix(at + "attn_q.weight", HEADS * HEAD_DIM, HIDDEN)
        matrix(at + "attn_k.weight", KV_HEADS * HEAD_DIM, HIDDEN)
        matrix(at + "attn_v.weight", KV_HEADS * HEAD_DIM, HIDDEN)
        matrix(at + "attn_output.weight", HIDDEN, HEADS * HEAD_DIM)
        gate = random.standard_normal((EXPERTS, HIDDEN), np.float32) / np.float32(HIDDEN**0.5)
        writer.add_tensor(at + "ffn_gate_inp.weight", gate)
        vector(at + "exp_probs_b.bias", EXPERTS, 0)
        matrix(at + "ffn_gate_exps.weight", EXPERTS, INNER, HIDDEN)
        matrix(at + "ffn_up_exps.weight", EXPERTS, INNER, HIDDEN)
        matrix(at + "ffn_down_exps.weight", EXPERTS, HIDDEN, INNER)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def gb_of_a_layer(bits):
    experts = TOP_K * 3 * HIDDEN * INNER
    attention = HIDDEN * HEAD_DIM * (2 * HEADS + 2 * KV_HEADS)
    router = 4 * EXPERTS * HIDDEN  # F32 in both
    return ((experts + attention) * bits / 8 + router) / 1e9


def run_json(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed: {done.stderr[-500:]}")
    return json.loads(done.stdout)


def torch_product():
    try:
        import time
        import torch
    except ImportError:
        return None
    torch.set_num_threads(2)
    x = torch.randn(512, 3072, dtype=torch.bfloat16)
    w = torch.randn(3072, 3072, dtype=torch.bfloat16)
    best = 1e9
    for _ in range(40):
        begin = time.perf_counter()
        torch.nn.functional.linear(x, w)
        best = min(best, time.perf_counter() - begin)
    return 2 * 512 * 3072 * 3072 / best / 1e9


def measure(args, ours, path, n_layers, best):
    """Keeps the least seconds of each kind of run for that many layers."""
    result = run_json([args.mm2, "bench", "--synthetic", "m2-reap", "--quant", ours, "--layers", str(n_layers), "--vocab",
                       str(VOCAB), "--prompt", "64,512", "--json"])
    speed = {p["tokens"]: p["tok_per_s"] for p in result["prefill"]}
    take(best, ("mm2", n_layers), 64 / speed[64], 512 / speed[512], 1 / result["decode"]["tok_per_s"])
    best["probe"] = max(best.get("probe", 0), result["decode"]["probe_gb_per_s"])
    rows = run_json([args.llama_bench, "-m", path, "-p", "64,512", "-n", "64", "-t", "2", "-r", "5", "-o", "json"])
    speed = {(r["n_prompt"], r["n_gen"]): max(r["samples_ts"]) for r in rows}
    take(best, ("llama", n_layers), 64 / speed[64, 0], 512 / speed[512, 0], 1 / speed[0, 64])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mm2", required=True)
    parser.add_argument("--llama-bench", required=True)
    parser.add_argument("--gguf-py", required=True)
    parser.add_argument("--gemm-bench")
    parser.add_argument("--folder", required=True, help="where the GGUF files go and stay, some GB")
    parser.add_argument("--write-only", action="store_true", help="writes the files and measures nothing")
    args = parser.parse_args()
    sys.path.insert(0, args.gguf_py)
    import gguf
    import numpy as np

    paths = {(kind, n): os.path.join(args.folder, f"layers-{kind}-{n}.gguf") for _, kind, _, _ in PAIRS for n in (FEW, MANY)}
    for (kind, n), path in paths.items():
        if not os.path.exists(path):
            write_gguf(path, kind, n, gguf, np)
    if args.write_only:
        return
    print("2 threads; milliseconds of one layer, the least of two runs of each, in turns")
    print(f"{'weights':18} {'64 tokens':>10} {'512 tokens':>10} {'decode':>8} {'GB/s':>6}  of the read probe")
    for ours, theirs, our_bits, their_bits in PAIRS:
        best = {}
        for n in (FEW, MANY) * 2:
            measure(args, ours, paths[theirs, n], n, best)
        for who, name, bits in (("mm2", f"mm2 {ours}", our_bits), ("llama", f"llama.cpp {theirs}", their_bits)):
            t64, t512, decode = ((b - a) / (MANY - FEW) for a, b in zip(best[who, FEW], best[who, MANY]))
            rate = gb_of_a_layer(bits) / decode
            print(f"{name:18} {1e3 * t64:10.1f} {1e3 * t512:10.1f} {1e3 * decode:8.2f} {rate:6.1f}  {100 * rate / best['probe']:.0f} %",
                  flush=True)
    if args.gemm_bench:
        theirs = torch_product()
        print(subprocess.run([args.gemm_bench, "avx512,bf16"], capture_output=True, text=True).stdout.splitlines()[-1])
        print("PyTorch, bf16, 512 tokens: not installed" if theirs is None else f"PyTorch, bf16, 512 tokens: {theirs:.0f} GFLOP/s")


def take(best, who, *seconds):
    best[who] = tuple(min(a, b) for a, b in zip(best.get(who, seconds), seconds))


if __name__ == "__main__":
    main()
