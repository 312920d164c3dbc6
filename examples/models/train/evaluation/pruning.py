"""Expert pruning: which experts matter, and a router that leaves some out."""

import random
from contextlib import contextmanager

import torch
import torch.nn.functional as F


@torch.no_grad()
def expert_statistics(model, docs, answers_only=False):
    """Per layer and expert: how often it is chosen, and its REAP score, the mean of
    weight * |output| over its tokens. With answers_only, only the positions that predict an answer
    token count."""
    stats = []
    counted = None
    hooks = []
    for layer in model.model.layers:
        experts = layer.mlp.experts
        stat = dict(count=torch.zeros(experts.num_experts), mass=torch.zeros(experts.num_experts))
        stats.append(stat)

        def hook(module, inputs, stat=stat):
            x, index, weights = (t[counted] for t in inputs[:3])
            for e in range(module.num_experts):
                token, place = torch.where(index == e)
                if len(token):
                    gate, up = F.linear(x[token], module.gate_up_proj[e]).chunk(2, -1)
                    y = F.linear(F.silu(gate) * up, module.down_proj[e]).float()
                    stat["mass"][e] += (weights[token, place].float() * y.norm(dim=-1)).sum()
                    stat["count"][e] += len(token)

        hooks.append(experts.register_forward_pre_hook(hook))
    for ids, learn in docs:
        counted = torch.ones(len(ids), dtype=torch.bool)
        if answers_only:
            counted = torch.cat([learn[1:], learn[:1]])
        model(input_ids=torch.tensor([ids]))
    for h in hooks:
        h.remove()
    return [dict(count=s["count"], reap=s["mass"] / s["count"].clamp_min(1)) for s in stats]


@contextmanager
def pruned(model, victims):
    """Keeps the router from choosing the given experts of each layer, which is what removing them
    does, while the context lasts."""
    buffers = [layer.mlp.e_score_correction_bias for layer in model.model.layers]
    old = [b.clone() for b in buffers]
    for b, gone in zip(buffers, victims):
        b[gone] = -1e4
    yield
    for b, o in zip(buffers, old):
        b.copy_(o)


def plans(on_all, on_answers, seed):
    """{name: the experts of every layer to remove}, a quarter of them each time."""
    experts = len(on_all[0]["count"])
    gone = experts // 4
    r = random.Random(seed)

    def lowest(table, key):
        return [s[key].argsort()[:gone] for s in table]

    def drawn():
        return [torch.tensor(r.sample(range(experts), gone)) for _ in on_all]

    return {
        "reap_all_tokens": lowest(on_all, "reap"),
        "reap_answers": lowest(on_answers, "reap"),
        "least_used_all_tokens": lowest(on_all, "count"),
        "least_used_on_answers": lowest(on_answers, "count"),
        "highest_reap_answers": [s["reap"].argsort()[-gone:] for s in on_answers],
        **{f"random_{i + 1}": drawn() for i in range(5)},
    }


def relative_load(stats):
    return [[round(v, 3) for v in (s["count"] / s["count"].mean()).tolist()] for s in stats]
