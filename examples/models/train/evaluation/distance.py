"""Perplexity, and the distance of a changed model from the unchanged one."""

import math
import random

import corpus
import torch
import torch.nn.functional as F

from tiny.documents import ANSWER, loss_classes, render


def test_documents(subject, count, held_out, seed, longest=700):
    """(ids, which of them are answer tokens), shortest first."""
    r = random.Random(seed)
    docs = []
    while len(docs) < count:
        ex = corpus.draw(r, held_out)
        ids = subject.encode(render(subject.template, ex))
        if len(ids) <= longest:
            docs.append((ids, torch.from_numpy(loss_classes(ids, ex.raw is not None)) == ANSWER))
    docs.sort(key=lambda d: len(d[0]))
    return docs


@torch.no_grad()
def log_probs(model, docs, batch=24):
    """Log-probabilities of every token of the vocabulary at each answer position, and the answer
    tokens."""
    rows, targets = [], []
    for start in range(0, len(docs), batch):
        part = docs[start : start + batch]
        width = max(len(ids) for ids, _ in part)
        ids = torch.tensor([d + [0] * (width - len(d)) for d, _ in part])
        mask = torch.tensor([[1] * len(d) + [0] * (width - len(d)) for d, _ in part])
        logits = model(input_ids=ids, attention_mask=mask).logits.float()
        for row, (d, learn) in enumerate(part):
            where = learn.nonzero().squeeze(-1)
            where = where[where > 0]
            rows.append(F.log_softmax(logits[row, where - 1], -1))
            targets.append(torch.tensor(d)[where])
    return torch.cat(rows), torch.cat(targets)


def compare(base, other, targets):
    nll = -other.gather(1, targets[:, None]).mean().item()
    kl = (base.exp() * (base - other)).sum(-1).mean().item()
    same = (base.argmax(-1) == other.argmax(-1)).float().mean().item()
    return dict(
        perplexity=round(math.exp(nll), 4), mean_kl=round(kl, 5), same_top_token=round(same, 4)
    )
