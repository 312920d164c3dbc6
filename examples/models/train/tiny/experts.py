"""The experts of a layer, with hand-written gradients: tokens lie sorted by expert."""

import numpy as np
import torch
import torch.nn.functional as F


ROW_BLOCK = 128  # row counts of matrix products are rounded up to this


class Dispatch(torch.autograd.Function):
    """Copies each token once per chosen expert. `slot` [tokens * k] says into which row; other rows
    stay zero."""

    @staticmethod
    def forward(ctx, x, slot, rows, k):
        ctx.save_for_backward(slot)
        ctx.k = k
        return x.new_zeros(rows, x.shape[-1]).index_copy_(0, slot, x.repeat_interleave(k, 0))

    @staticmethod
    def backward(ctx, grad):
        (slot,) = ctx.saved_tensors
        return grad[slot].view(-1, ctx.k, grad.shape[-1]).sum(1), None, None, None


class Collect(torch.autograd.Function):
    """The way back: [tokens, k, hidden]."""

    @staticmethod
    def forward(ctx, y, slot, k):
        ctx.save_for_backward(slot)
        ctx.rows = len(y)
        return y[slot].view(-1, k, y.shape[-1])

    @staticmethod
    def backward(ctx, grad):
        (slot,) = ctx.saved_tensors
        return (
            grad.new_zeros(ctx.rows, grad.shape[-1]).index_copy_(0, slot, grad.flatten(0, 1)),
            None,
            None,
        )


class Experts(torch.autograd.Function):
    """w2(silu(w1 x) * (w3 x)) for rows that lie sorted by expert; `sizes` says how many rows each
    expert has. w13 holds w1 above w3."""

    @staticmethod
    def spans(sizes):
        ends = np.cumsum(sizes).tolist()
        return [(e, slice(end - n, end)) for e, (n, end) in enumerate(zip(sizes, ends)) if n]

    @staticmethod
    def forward(ctx, x, w13, w2, sizes):
        inner, out = x.new_empty(len(x), w13.shape[1]), torch.empty_like(x)
        for e, rows in Experts.spans(sizes):
            torch.mm(x[rows], w13[e].T, out=inner[rows])
        gate, up = inner.chunk(2, -1)
        active = F.silu(gate) * up
        for e, rows in Experts.spans(sizes):
            torch.mm(active[rows], w2[e].T, out=out[rows])
        ctx.save_for_backward(x, inner, active, w13, w2)
        ctx.sizes = sizes
        return out

    @staticmethod
    def backward(ctx, grad):
        x, inner, active, w13, w2 = ctx.saved_tensors
        grad = grad.contiguous()
        d_active, d_inner = torch.empty_like(active), torch.empty_like(inner)
        d_x = torch.empty_like(x)
        d_w13, d_w2 = torch.zeros_like(w13), torch.zeros_like(w2)
        for e, rows in Experts.spans(ctx.sizes):
            torch.mm(grad[rows], w2[e], out=d_active[rows])
            torch.mm(grad[rows].T, active[rows], out=d_w2[e])
        gate, up = inner.chunk(2, -1)
        half = gate.shape[-1]
        d_inner[:, :half] = torch.ops.aten.silu_backward(d_active * up, gate)
        d_inner[:, half:] = d_active * F.silu(gate)
        for e, rows in Experts.spans(ctx.sizes):
            torch.mm(d_inner[rows], w13[e], out=d_x[rows])
            torch.mm(d_inner[rows].T, x[rows], out=d_w13[e])
        return d_x, d_w13, d_w2, None


def round_up(n, step):
    return (n + step - 1) // step * step
