"""The training loop. Workers are single-threaded processes that share every step."""

import itertools
import json
import sys
import time

import torch
import torch.distributed as dist

from .batches import batches
from .checkpoint import load_tensors, write_weights
from .model import TinyM2
from .optimizer import make_optimizers, rate_at
from .progress import progress


@torch.no_grad()
def held_out_loss(model, groups_list):
    model.eval()
    losses = [model(groups).item() for groups in groups_list]
    model.train()
    return sum(losses) / len(losses)


class SharedGradients:
    """All gradients of a model in one buffer, together with a few statistics, summed over the
    workers in one go."""

    def __init__(self, model, extra):
        params = list(model.parameters())
        size = sum(p.numel() for p in params)
        self.buffer = torch.zeros(size + extra)
        self.extra = self.buffer[size:]
        for p, part in zip(params, self.buffer[:size].split([p.numel() for p in params])):
            p.grad = part.view_as(p)

    def average(self):
        if dist.is_initialized():
            dist.all_reduce(self.buffer)
            self.buffer /= dist.get_world_size()


class Log:
    """One JSON line per entry, in the first worker only."""

    def __init__(self, path):
        self.path = path

    def __call__(self, **entry):
        if self.path:
            rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in entry.items()}
            with self.path.open("a", encoding="utf-8") as f:
                f.write(json.dumps(rounded) + "\n")


class Run:
    """The state of one worker: model, optimizers, and the share of the budget that is used."""

    def __init__(self, rank, docs, args):
        self.args = args
        self.model = TinyM2()
        if args.init:
            load_tensors(self.model, args.init)
        self.optimizers = make_optimizers(self.model, args.lr)
        self.loads = sum(layer.load.numel() for layer in self.model.layers)
        self.shared = SharedGradients(self.model, extra=3 + self.loads)
        part, tokens = docs[rank :: args.workers], args.batch // args.workers
        self.stream = batches(part, tokens, args.seed + rank, args.context_share)
        self.start, self.steps, self.tokens, self.share, self.smooth = time.time(), 0, 0, 0.0, None

    @property
    def minutes(self):
        return (time.time() - self.start) / 60

    def used(self):
        """The share of whichever budget is used up first."""
        args = self.args
        by_time = self.minutes / args.minutes if args.minutes else 0
        return max(by_time, (self.steps + 1) / args.steps if args.steps else 0)

    def step(self):
        """One update. Every worker takes a part of the batch, the gradients are averaged, and all
        make the same update and agree on the share of the budget. Returns how busy the busiest
        expert is."""
        model, extra = self.model, self.shared.extra
        rate = rate_at(self.share, self.args.warmup)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["top_lr"] * rate
        groups = next(self.stream)
        self.shared.buffer.zero_()
        loss = model(groups)
        loss.backward()
        seen = float(sum(int(g[3].sum()) for g in groups))
        extra[:3] = torch.tensor([loss.item(), self.used(), seen])
        extra[3:] = torch.cat([layer.load for layer in model.layers])
        self.shared.average()
        for optimizer in self.optimizers:
            optimizer.step()
        for layer, load in zip(model.layers, extra[3:].split(len(model.layers[0].load))):
            layer.load.copy_(load)

        mean_loss, self.share, seen = extra[:3].tolist()
        busiest = model.balance(self.args.balance_rate * rate_at(self.share, self.args.warmup))
        self.steps += 1
        self.tokens += int(seen * self.args.workers)
        self.smooth = mean_loss if self.smooth is None else 0.95 * self.smooth + 0.05 * mean_loss
        return busiest


def train(rank, docs, test_docs, args, rendezvous):
    """One worker; the first one reports and saves."""
    torch.set_num_threads(1)
    if args.workers > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=args.workers
        )
    torch.manual_seed(args.seed)  # the same weights in every worker
    run = Run(rank, docs, args)
    tests = list(itertools.islice(batches(test_docs, args.batch, 1), 6))
    log, saved = Log(args.log), time.time()
    while run.share < 1:
        busiest = run.step()
        if rank != 0:
            continue
        minutes = run.minutes
        progress(
            "train",
            min(run.share, 1),
            f"step {run.steps}  loss {run.smooth:.3f}  {run.tokens / minutes / 60:.0f} "
            "tokens/s  "
            f"busiest expert {busiest:.2f}x",
        )
        state = dict(step=run.steps, minutes=minutes, tokens=run.tokens)
        if run.steps % 100 == 0:
            log(**state, loss=run.smooth, busiest=busiest, share=run.share)
        if time.time() - saved > 60 * args.save_minutes or run.share >= 1:
            saved = time.time()
            write_weights(run.model, args.out)
            log(**state, held_out_loss=held_out_loss(run.model, tests), finished=run.share >= 1)
    if rank == 0:
        sys.stderr.write("\n")
    if dist.is_initialized():
        dist.destroy_process_group()
