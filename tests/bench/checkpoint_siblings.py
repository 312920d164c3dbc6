"""What merging does to two siblings of the bundled model, each trained further on one part of the corpus, as Markdown tables.

    cd examples/models/train                                                # wants torch
    OPTIONS="--init ../mm2-tiny --minutes 0 --steps 120 --batch 3072 --docs 4000 --lr 0.006 --warmup 0.1 --context-share 0.1 --workers 1"
    python train.py --out A $OPTIONS --seed 21 --generators $(python ../../../tests/bench/checkpoint_siblings.py --part 0)
    python train.py --out B $OPTIONS --seed 22 --generators $(python ../../../tests/bench/checkpoint_siblings.py --part 1)
    MM2_PROGRAM=.../mm2 MM2_LIBRARY=.../libmm2.so MM2_SOURCE_DIR=... python3 tests/bench/checkpoint_siblings.py A B [--work FOLDER]

Wants numpy. Parents and children are judged on held-out text of each part, on all of the corpus, and on the questions of the model's card.
"""
import argparse
import json
import os
import random
import sys
import tempfile

PARTS = ("single_tool,parallel_tool,tool_dialogue,tool_not_needed,identity,mm2_fact,capital,knowledge",
         "addition,subtraction,number_sense,count_up,count_items,letters,repeat,listing,completion,memory_turns,persona")


def compare(parents, work):
    import checkpoint_quality as quality
    import numpy
    quality.ROLE = quality.role_token()
    draw = quality.corpus.draw
    texts = []
    for part in (*PARTS, None):
        makers = part and quality.corpus.part_of_mixture(part.split(","))
        quality.corpus.draw = lambda r, held_out, makers=makers: draw(r, held_out, makers)
        texts.append(quality.documents(200, 5, True))
    table = quality.Table(texts[2])

    def row(name, path):
        host = quality.Judge(path)
        losses = []
        for docs in texts:
            got, nexts = host.log_probabilities(docs)
            losses.append(-float(got[numpy.arange(len(nexts)), nexts].mean(dtype=numpy.float64)))
        marks = host.right(table.questions, table.decode)
        host.close()
        print(f"| {name} | " + " | ".join(f"{x:.4f}" for x in losses) + f" | {100 * marks['right']:.1f} % | {100 * marks['tool_call_exact']:.1f} % |", flush=True)

    print("| model | NLL: tools, facts | NLL: sums, letters | NLL: all | right | exact calls |\n|---|---|---|---|---|---|")
    row("bundled", quality.TINY)
    names = dict(zip("AB", parents))
    for name, path in names.items():
        row(name, path)
    for a, b in (("A", "B"), ("B", "A")):
        scan = os.path.join(work, f"scan-{a}{b}.json")
        if not os.path.exists(scan):
            quality.mm2("forensics", names[a], names[b], "--out", scan)
        for name, options in {"slerp, t from the scan": ["--t-from", scan], "slerp, t = 0.5": ["--t", "0.5"], "lerp, t = 0.5": ["--method", "lerp", "--t", "0.5"]}.items():
            if b == "A" and "scan" not in name:
                continue
            out = os.path.join(work, f"{a}{b}-" + "".join(c if c.isalnum() else "-" for c in name))
            if not os.path.exists(out):
                quality.mm2("merge", names[a], names[b], *options, "-o", out)
            row(f"{a} to {b}: {name}", out)
        with open(scan, encoding="utf-8") as file:
            found = json.load(file)
        print(f"<!-- {a} to {b}: median cosine {found['cluster']['median_cos']:.5f}, mean t {found['schedule']['mean_t']:.3f}, "
              f"classes {[(c['class'], round(c['rel_l2'], 4), round(c['mean_t'], 3)) for c in found['classes']]} -->", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("parents", nargs="*")
    parser.add_argument("--part", type=int, help="print the generators of this part")
    parser.add_argument("--work")
    options = parser.parse_args()
    random.seed(0)
    if options.part is not None:
        print(PARTS[options.part])
    elif len(options.parents) == 2:
        compare(options.parents, options.work or tempfile.mkdtemp())
    else:
        sys.exit("name two models")


if __name__ == "__main__":
    main()
