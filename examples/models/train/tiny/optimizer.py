"""Muon for the matrices inside the layers, Adam for the rest, and the schedule of the rate."""

import math

import torch

from .model import COMPUTE


@torch.no_grad()
def orthogonalise(g, steps=5):
    """Newton-Schulz iteration: moves the singular values of every matrix of a batch towards one."""
    x = g.to(COMPUTE)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    def __init__(self, params, lr, momentum=0.95, weight_decay=0.01):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            by_shape = {}
            for p in group["params"]:
                state = self.state[p]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(p)
                state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                update = p.grad.lerp(state["momentum"], group["momentum"])
                rows, cols = p.shape[-2:]
                by_shape.setdefault((rows, cols), []).append((p, update.view(-1, rows, cols)))
            for (rows, cols), members in by_shape.items():
                updates = orthogonalise(torch.cat([u for _, u in members]))
                scale = group["lr"] * max(1, rows / cols) ** 0.5
                for (p, u), direction in zip(
                    members, updates.split([u.shape[0] for _, u in members])
                ):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(direction.view_as(p), alpha=-scale)


MATRICES = ("q_proj", "k_proj", "v_proj", "o_proj", "w1", "w2", "w3")


def make_optimizers(model, lr):
    named = dict(model.named_parameters())

    def pick(*ends):
        return [p for n, p in named.items() if n.endswith(ends)]

    muon = Muon(pick(*MATRICES), lr=lr)
    groups = [
        {"params": [model.embed], "lr": 0.3 * lr}, {"params": [model.head], "lr": 0.15 * lr},
        {"params": pick("gate"), "lr": 0.15 * lr}, {"params": pick("norm"), "lr": 0.25 * lr},
    ]
    adam = torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    for optimizer in (muon, adam):
        for group in optimizer.param_groups:
            group["top_lr"] = group["lr"]
    return muon, adam


def rate_at(share, warmup, floor=0.02):
    """Linear warm-up, then a cosine down to `floor`."""
    if share < warmup:
        return share / warmup + 1e-3
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (share - warmup) / (1 - warmup)))
