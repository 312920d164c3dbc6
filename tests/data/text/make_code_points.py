#!/usr/bin/env python3
"""Writes code_points.json: digests of the ids that Hugging Face tokenizers gives to every code point in 24 contexts.

    python3 -m venv V && V/bin/pip install 'tokenizers>=0.21' && V/bin/python make_code_points.py

A digest covers one context and one plane of 65,536 code points: SHA-256 over, for each code point c in ascending order
(surrogates left out), the ids of context.format(c) and then -1, all as little-endian 32-bit integers. The first 16
contexts look at how text is split, the last 8 at how it is normalised.
"""
import array, hashlib, json, os, pathlib

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers import Tokenizer, __version__  # noqa: E402

FOLDER = pathlib.Path(__file__).parent
CONTEXTS = [
    "{}", "a{}b", "1{}", "{}{}", "A{}b", "a{}B", "1{}2", " {}", " {} ", "{}\n", "!{}!", "'{}", "{}'s", "  {}  x", "\n{}", "x{}\r\n{}",
    "e{}", "{}\u0301", "a\u0345{}\u0334b", "o{}\u0323\u0301", "\u1100{}", "\uac00{}", "{}\u1161\u11a8", "\u09c7{}\u093c",
]


def main():
    tokenizer = Tokenizer.from_file(str(FOLDER / "model_4096/tokenizer.json"))
    digests = []
    for context in CONTEXTS:
        planes = []
        for plane in range(17):
            code_points = [c for c in range(plane << 16, plane + 1 << 16) if not 0xD800 <= c < 0xE000]
            encodings = tokenizer.encode_batch_fast([context.replace("{}", chr(c)) for c in code_points], add_special_tokens=False)
            ids = array.array("i")
            for encoding in encodings:
                ids.extend(encoding.ids)
                ids.append(-1)
            planes.append(hashlib.sha256(ids.tobytes()).hexdigest())
        digests.append({"context": context, "planes": planes})
        print(repr(context), flush=True)
    document = {"made_with": f"tokenizers {__version__}", "tokenizer": "model_4096", "digests": digests}
    (FOLDER / "code_points.json").write_text(json.dumps(document, indent=1) + "\n")


main()
