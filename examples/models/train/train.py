"""Trains mm2-tiny: a very small language model with the architecture of MiniMax-M2.

The script makes everything from nothing: the corpus (corpus/), the tokenizer, the weights, and a
checkpoint folder in the layout of the official models, which transformers loads as
MiniMaxM2ForCausalLM.

    python train.py --out mm2-tiny-new --minutes 60
    python train.py --out mm2-tiny-new --init ../mm2-tiny --minutes 30    # continue

It needs torch, numpy, tokenizers, safetensors and jinja2, and no GPU. Two processor cores with BF16
instructions are enough.
"""

import argparse
import multiprocessing
import shutil
import tempfile
from pathlib import Path

import torch

from corpus import part_of_mixture
from tiny.checkpoint import write_text_files
from tiny.documents import documents
from tiny.model import TinyM2
from tiny.tokenizer import train_tokenizer, without_added_tokens
from tiny.training import train
from tiny.vocabulary import VOCAB_SIZE


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, help="checkpoint folder to write")
    add("--init", type=Path, help="checkpoint folder to continue from, with its tokenizer")
    add("--minutes", type=float, default=35, help="time budget of the training loop (0: none)")
    add("--steps", type=int, default=0, help="step budget (0: none)")
    add("--generators", help="train on these parts of the corpus alone: names with commas between")
    add("--docs", type=int, default=150_000, help="training documents")
    add("--batch", type=int, default=6144, help="tokens per step")
    add("--lr", type=float, default=0.02, help="peak rate of Muon; the other rates follow it")
    add("--warmup", type=float, default=0.03, help="share of the run in which the rate grows")
    add("--context-share", type=float, default=0.2, help="share of the other tokens to learn")
    add("--balance-rate", type=float, default=0.004, help="peak step of the selection bias")
    add("--workers", type=int, default=2, help="single-threaded processes that share the work")
    add("--seed", type=int, default=1)
    add("--save-minutes", type=float, default=5)
    add("--log", type=Path, help="file for one JSON line per 100 steps")
    args = parser.parse_args()
    if not args.minutes and not args.steps:
        parser.error("give --minutes or --steps")
    args.makers = part_of_mixture(args.generators.split(",")) if args.generators else None
    return args


def prepare_tokenizer(args):
    """Puts tokenizer.json into the output folder: learned anew, or that of --init."""
    path = args.out / "tokenizer.json"
    if args.init is None:
        texts = documents(args.seed + 100, 20_000, False, None, args.workers)
        train_tokenizer(without_added_tokens(texts), path)
    elif args.init.resolve() != args.out.resolve():
        shutil.copyfile(args.init / "tokenizer.json", path)
    return path


def main():
    args = arguments()
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer_path = prepare_tokenizer(args)
    docs = documents(
        args.seed, args.docs, False, tokenizer_path, args.workers, makers=args.makers
    )
    test_docs = documents(args.seed + 1, 1500, True, tokenizer_path, args.workers)
    write_text_files(args.out)
    total = sum(len(d) for d, _ in docs)
    size = sum(p.numel() for p in TinyM2().parameters())
    print(
        f"{len(docs)} documents, {total} tokens, mean {total / len(docs):.0f}; "
        f"vocabulary {VOCAB_SIZE}; {size} parameters",
        flush=True,
    )

    with tempfile.TemporaryDirectory() as folder:
        job = (docs, test_docs, args, Path(folder) / "rendezvous")
        fork = multiprocessing.get_context("fork")
        others = [
            fork.Process(target=train, args=(rank, *job), daemon=True)
            for rank in range(1, args.workers)
        ]
        for worker in others:
            worker.start()
        train(0, *job)
        for worker in others:
            worker.join()


if __name__ == "__main__":
    main()
