"""Batches of documents of similar length."""

import numpy as np
import torch

from .documents import ANSWER, CONTEXT
from .vocabulary import TOKEN_ID


def batches(docs, tokens_per_batch, seed, context_share=0.2, groups=8):
    """Endless batches. Each is a list of groups, and a group is [documents, length]: documents of
    similar length share a group, so that little is padded and no document sees another."""
    r = np.random.default_rng(seed)
    while True:
        order = r.permutation(len(docs))
        i = 0
        while i < len(order):
            picked, total = [], 0
            while i < len(order) and total < tokens_per_batch:
                picked.append(docs[order[i]])
                total += len(docs[order[i]][0])
                i += 1
            if total < tokens_per_batch:
                break
            picked.sort(key=lambda d: len(d[0]))
            ends = np.cumsum([len(d[0]) for d in picked])
            cuts = np.searchsorted(
                ends, [total * (g + 1) / groups for g in range(groups)], side="left"
            )
            parts, start = [], 0
            for cut in sorted(set(int(c) + 1 for c in cuts)):
                if picked[start:cut]:
                    parts.append(picked[start:cut])
                start = cut
            yield [pad_group(part, r, context_share) for part in parts]


def pad_group(part, r, context_share, gap_share=0.12, longest_gap=1500):
    """(ids, positions, which tokens to learn, which are real) of a group."""
    length = max(len(ids) for ids, _ in part)
    n = len(part)
    ids, positions = np.zeros((n, length), np.int64), np.tile(np.arange(length), (n, 1))
    learn, real = np.zeros((n, length), bool), np.zeros((n, length), bool)
    for row, (doc, classes) in enumerate(part):
        ids[row, : len(doc)] = doc
        real[row, : len(doc)] = True
        # Every answer token counts, and a random share of the rest.
        chosen = (classes == ANSWER) | ((classes == CONTEXT) & (r.random(len(doc)) < context_share))
        learn[row, : len(doc) - 1] = chosen[1:]
        # Some documents get a gap in their positions, so that distances longer than any document
        # are seen as well.
        if r.random() < gap_share:
            turns = np.flatnonzero(doc == TOKEN_ID["]~b]"])
            if len(turns) > 1:
                start = turns[r.integers(1, len(turns))]
                positions[row, start:] += r.integers(1, longest_gap)
    return tuple(torch.from_numpy(x) for x in (ids, positions, learn, real))
