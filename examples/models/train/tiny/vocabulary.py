"""The token ids: 256 bytes, merges, the 54 added tokens of M2, 10 rows without a token.

Standard library only.
"""

import json


BASE_TOKENS = 1600
UNUSED_ROWS = 10
ADDED_TOKENS = [
    "]!p~[", "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>", "<reponame>",
    "<filename>", "<gh_stars>", "<issue_start>", "<issue_comment>", "<issue_closed>",
    "<jupyter_start>", "<jupyter_text>", "<jupyter_code>", "<jupyter_output>", "<empty_output>",
    "<commit_before>", "<commit_msg>", "<commit_after>", "]~b]", "[e~[", "]!d~[", "<function_call>",
    "<code_interpreter>", "]<]speech[>[", "]<]image[>[", "]<]video[>[", "]<]start of speech[>[",
    "]<]end of speech[>[", "]<]start of image[>[", "]<]end of image[>[", "]<]start of video[>[",
    "]<]end of video[>[", "]<]vision pad[>[", "]~!b[", "<jupyter_error>", "<add_file>",
    "<delete_file>", "<rename_file>", "<edit_file>", "<commit_message>", "<empty_source_file>",
    "<repo_struct>", "<code_context>", "<file_content>", "<source_files>", "<pr_start>",
    "<review_comment>", "<filepath>", "<file_sep>", "<think>", "</think>", "<minimax:tool_call>",
    "</minimax:tool_call>",
]
# Decoding keeps these visible even where it skips special tokens.
NOT_SPECIAL = {"<think>", "</think>", "<minimax:tool_call>", "</minimax:tool_call>"}
TOKEN_ID = {text: BASE_TOKENS + i for i, text in enumerate(ADDED_TOKENS)}
VOCAB_SIZE = BASE_TOKENS + len(ADDED_TOKENS) + UNUSED_ROWS


def byte_characters():
    """The printable character that stands for each byte in a byte-level vocabulary."""
    printable = [
        *range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = (b for b in range(256) if b not in printable)
    table = {b: chr(b) for b in printable}
    table.update({b: chr(256 + i) for i, b in enumerate(others)})
    return [table[b] for b in range(256)]


class Decoder:
    """Text of token ids, added tokens included, as `decode` of the tokenizers library gives it."""

    def __init__(self, tokenizer_json):
        spec = json.loads(tokenizer_json.read_text(encoding="utf-8"))
        byte_of = {c: b for b, c in enumerate(byte_characters())}
        self.pieces = {
            i: bytes(byte_of[c] for c in token) for token, i in spec["model"]["vocab"].items()
        }
        self.pieces.update({t["id"]: t["content"].encode() for t in spec["added_tokens"]})

    def __call__(self, ids):
        return b"".join(self.pieces.get(i, b"") for i in ids).decode("utf-8", errors="replace")
