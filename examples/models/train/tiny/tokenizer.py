"""Learns the tokenizer: byte-level BPE in the M2 pipeline."""

import json

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from .vocabulary import ADDED_TOKENS, BASE_TOKENS, NOT_SPECIAL, TOKEN_ID, byte_characters


SPLIT = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def pipeline(*extra):
    split = pre_tokenizers.Split(Regex(SPLIT), behavior="removed", invert=True)
    return pre_tokenizers.Sequence(
        [split, *extra, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )


def train_tokenizer(texts, path):
    """Learns the merges from `texts` and writes tokenizer.json."""
    learner = Tokenizer(models.BPE())
    learner.normalizer = normalizers.NFC()
    # While learning, digits stay apart: a number is then a row of digit tokens, which makes
    # arithmetic learnable.
    learner.pre_tokenizer = pipeline(pre_tokenizers.Digits(individual_digits=True))
    rules = trainers.BpeTrainer(
        vocab_size=BASE_TOKENS, initial_alphabet=byte_characters(), show_progress=False
    )
    learner.train_from_iterator(texts, rules)
    merges = [tuple(m) for m in json.loads(learner.to_str())["model"]["merges"]]

    vocab = {c: b for b, c in enumerate(byte_characters())}  # the id of a byte is its value
    kept = []
    for a, b in merges:
        if len(vocab) == BASE_TOKENS:
            break
        vocab.setdefault(a + b, len(vocab))
        kept.append((a, b))
    assert len(vocab) == BASE_TOKENS, f"the corpus gave only {len(vocab)} tokens"

    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=kept))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pipeline()
    tokenizer.decoder = decoders.ByteLevel()
    spec = json.loads(tokenizer.to_str())
    flags = dict(single_word=False, lstrip=False, rstrip=False, normalized=False)
    spec["added_tokens"] = [
        dict(id=i, content=text, **flags, special=text not in NOT_SPECIAL)
        for text, i in TOKEN_ID.items()
    ]
    path.write_text(json.dumps(spec, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return Tokenizer.from_file(str(path))


def without_added_tokens(texts):
    """The pieces of the texts between added tokens."""
    pattern = Regex("|".join(t.replace("[", r"\[").replace("]", r"\]") for t in ADDED_TOKENS))
    cut = pre_tokenizers.Split(pattern, behavior="removed")
    for text in texts:
        for piece, _ in cut.pre_tokenize_str(text):
            yield piece
