#!/usr/bin/env python3
"""The tokenizer against Hugging Face's, in one run: each repetition of one is followed by one of the other.

    python3 -m venv /tmp/peers && /tmp/peers/bin/pip install tokenizers
    /tmp/peers/bin/python tests/bench/text_peers.py build/bench/tests/bench/tokenizer_bench [--tokenizer FILE] TEXT_FOLDER...

Trains a byte-level BPE of the real size (200,000 tokens and the family's 54 added ones) on the text files below the
folders, then measures loading, encoding of documents (one thread each) and decoding; ids must be equal. The
texts that are measured are left out of training. FILE keeps the tokenizer: trained where it is not there yet, and then nothing
is measured. Never needed by the build or the tests.
"""
import array, json, os, pathlib, random, statistics, subprocess, sys, tempfile, time, zlib

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
from tokenizers import Tokenizer, __version__, trainers  # noqa: E402

SOURCE = pathlib.Path(__file__).resolve().parents[2]
SIZE = 200_000
PROSE, CODE = {".md", ".txt", ".rst", ".html", ".pod"}, {".py", ".h", ".hpp", ".c", ".cpp", ".pyi", ".js"}
MEASURED = 4_000_000   # characters of each kind
TRAINED = 100_000_000


def documents(folders, suffixes):
    """Texts of at most 64 KB each, in an order that does not depend on the machine's."""
    files = sorted(f for folder in folders for f in pathlib.Path(folder).rglob("*") if f.suffix in suffixes and f.is_file())
    random.Random(1).shuffle(files)
    for file in files:
        try:
            text = file.read_bytes().decode("utf-8").replace("\0", "")
        except (OSError, UnicodeDecodeError):
            continue
        if text:
            yield text[:65536]


def take(texts, n):
    out, have = [], 0
    for text in texts:
        out.append(text)
        have += len(text)
        if have >= n:
            break
    return out


def train(texts, path):
    """The family's pipeline, taken from the small tokenizer of the tests, over a vocabulary of the real size."""
    document = json.loads((SOURCE / "tests/data/text/model_4096/tokenizer.json").read_text())
    small = len(document["model"]["vocab"])
    bytes_only = {token: i for token, i in document["model"]["vocab"].items() if i < 256}
    empty = json.loads(json.dumps(document))
    empty["model"].update(vocab={}, merges=[])
    empty["added_tokens"] = []
    learner = Tokenizer.from_str(json.dumps(empty))
    learner.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=SIZE, initial_alphabet=sorted(bytes_only), show_progress=False))
    document["model"]["merges"] = json.loads(learner.to_str())["model"]["merges"]
    document["model"]["vocab"] = dict(bytes_only)
    for left, right in document["model"]["merges"]:
        document["model"]["vocab"].setdefault(left + right, len(document["model"]["vocab"]))
    for token in document["added_tokens"]:
        token["id"] += len(document["model"]["vocab"]) - small
    path.write_text(json.dumps(document, ensure_ascii=False, indent=2))  # as save() writes it
    return len(document["model"]["vocab"]) + len(document["added_tokens"])


def timed(work):
    begin = time.perf_counter()
    result = work()
    return time.perf_counter() - begin, result


def main():
    bench, folders, kept = sys.argv[1], sys.argv[2:], None
    if folders[0] == "--tokenizer":
        kept, folders = pathlib.Path(folders[1]), folders[2:]
    work = pathlib.Path(tempfile.mkdtemp())
    prose, code = documents(folders, PROSE), documents(folders, CODE)
    measured = {"prose": take(prose, MEASURED), "code": take(code, MEASURED)}
    file = kept or work / "tokenizer.json"
    if not file.exists():
        seconds, n = timed(lambda: train(take(prose, TRAINED // 2) + take(code, TRAINED // 2), file))
        print(f"{n} tokens trained in {seconds:.0f} s, {file}")
        if kept:
            return
    print(f"Hugging Face tokenizers {__version__}")
    ours = subprocess.Popen([bench, str(file), "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    theirs = Tokenizer.from_file(str(file))

    def ask(line):
        ours.stdin.write(line + "\n")
        ours.stdin.flush()
        seconds, n_bytes, n_ids, crc = ours.stdout.readline().split()
        return float(seconds), int(n_bytes), int(n_ids), int(crc)

    def row(name, mm2, hf, n_bytes=None):
        a, b = statistics.median(mm2), statistics.median(hf)
        speed = f" | {n_bytes / a / 1e6:.1f} MB/s | {n_bytes / b / 1e6:.2f} MB/s" if n_bytes else f" | {a * 1e3:.0f} ms | {b * 1e3:.0f} ms"
        print(f"| {name}{speed} | {b / a:.1f} |", flush=True)

    print("| | mm2 | Hugging Face | times |\n|---|---|---|---|")
    pairs = [(ask("load")[0], timed(lambda: Tokenizer.from_file(str(file)))[0]) for _ in range(7)]
    row(f"load, {theirs.get_vocab_size():,} tokens", *zip(*pairs))
    for kind, texts in measured.items():
        (work / kind).write_bytes("\0".join(texts).encode())
        pairs, n_bytes = [], sum(len(t.encode()) for t in texts)
        for _ in range(5):
            seconds, got_bytes, n_ids, crc = ask(f"encode {work / kind}")
            hf_seconds, encodings = timed(lambda: theirs.encode_batch_fast(texts))  # the quickest of its entries
            ids = array.array("i", (i for e in encodings for i in e.ids))
            assert got_bytes == n_bytes and n_ids == len(ids) and crc == zlib.crc32(ids.tobytes()), f"{kind}: other ids"
            pairs.append((seconds, hf_seconds))
        row(f"encode {kind}, {len(texts)} documents, {n_bytes / 1e6:.1f} MB, {n_ids} ids", *zip(*pairs), n_bytes)
        lists = [e.ids for e in encodings]
        pairs = [(ask(f"decode {work / kind}")[0], timed(lambda: [theirs.decode(i, skip_special_tokens=False) for i in lists])[0]) for _ in range(5)]
        row(f"decode {kind}", *zip(*pairs), n_bytes)
    ours.stdin.close()


main()
