"""The model. Parameters are FP32; activations are BF16, as they are when the checkpoint is used."""

import torch
import torch.nn.functional as F

from .experts import ROW_BLOCK, Collect, Dispatch, Experts, round_up
from .vocabulary import VOCAB_SIZE


# The shape of the model. Every matrix dimension is a multiple of 128, so that block and group
# quantisation fit.
CONFIG = dict(
    hidden_size=256, num_hidden_layers=4, num_attention_heads=8, num_key_value_heads=4, head_dim=32,
    rotary_dim=16, intermediate_size=128, num_local_experts=16, num_experts_per_tok=4,
    rope_theta=10000, rms_norm_eps=1e-6, max_position_embeddings=4096,
)
COMPUTE = torch.bfloat16


def rms_norm(x, weight, eps=CONFIG["rms_norm_eps"]):
    y = x.float()
    return (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + eps) * weight).to(x.dtype)


def rotate(x, cos, sin):
    """RoPE on the first `rotary_dim` components of every head; component i pairs with component
    i + rotary_dim / 2."""
    half = cos.shape[-1]
    a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], -1)


def weight(*shape, std):
    return torch.nn.Parameter(torch.randn(*shape) * std)


class Layer(torch.nn.Module):
    def __init__(self, c):
        super().__init__()
        h, e, i = c["hidden_size"], c["num_local_experts"], c["intermediate_size"]
        q, kv = (c[name] * c["head_dim"] for name in ("num_attention_heads", "num_key_value_heads"))
        std, out_std = h**-0.5, 0.2 * h**-0.5
        self.c = c
        self.q_proj, self.k_proj = weight(q, h, std=std), weight(kv, h, std=std)
        self.v_proj, self.o_proj = weight(kv, h, std=std), weight(h, q, std=out_std)
        self.gate = weight(e, h, std=0.02)
        self.w1, self.w3 = weight(e, i, h, std=std), weight(e, i, h, std=std)
        self.w2 = weight(e, h, i, std=out_std)
        self.input_norm, self.post_norm, self.q_norm, self.k_norm = (
            torch.nn.Parameter(torch.ones(n)) for n in (h, h, q, kv)
        )
        self.register_buffer("bias", torch.zeros(e))  # selects experts, never weighs them
        self.register_buffer("load", torch.zeros(e))  # tokens per expert since the last balancing

    def attention(self, x, cos, sin, shapes):
        c, d = self.c, self.c["head_dim"]
        w = torch.cat([self.q_proj, self.k_proj, self.v_proj]).to(COMPUTE)
        rows = [p.shape[0] for p in (self.q_proj, self.k_proj, self.v_proj)]
        q, k, v = (x @ w.T).split(rows, -1)
        q = rotate(rms_norm(q, self.q_norm).unflatten(-1, (-1, d)), cos, sin)
        k = rotate(rms_norm(k, self.k_norm).unflatten(-1, (-1, d)), cos, sin)
        share = c["num_attention_heads"] // c["num_key_value_heads"]
        v = v.unflatten(-1, (-1, d))
        k, v = k.repeat_interleave(share, 1), v.repeat_interleave(share, 1)
        outs, sizes = [], [n * length for n, length in shapes]
        sizes.append(len(x) - sum(sizes))  # the filler rows come last
        for (n, length), *part in zip(shapes, *(t.split(sizes) for t in (q, k, v))):
            part = [t.view(n, length, -1, d).transpose(1, 2) for t in part]
            out = F.scaled_dot_product_attention(*part, is_causal=True)
            outs.append(out.transpose(1, 2).reshape(n * length, -1))
        outs.append(q.new_zeros(sizes[-1], self.o_proj.shape[1]))
        return torch.cat(outs) @ self.o_proj.to(COMPUTE).T

    def experts(self, x, real):
        k = self.c["num_experts_per_tok"]
        scores = torch.sigmoid(x.float() @ self.gate.T)
        chosen = (scores.detach() + self.bias).topk(k, -1).indices
        weights = scores.gather(-1, chosen)
        weights = (weights / weights.sum(-1, keepdim=True)).to(x.dtype)
        if self.training:
            self.load += torch.bincount(chosen[real].flatten(), minlength=len(self.bias))
        # Every expert gets a whole number of row blocks: few matrix shapes occur, and their kernels
        # are built only once.
        flat = chosen.flatten()
        counts = torch.bincount(flat, minlength=len(self.bias))
        padded = round_up(counts, ROW_BLOCK)
        order = flat.argsort(stable=True)
        shift = (padded.cumsum(0) - padded) - (counts.cumsum(0) - counts)
        slot = torch.empty_like(order)
        slot[order] = torch.arange(len(order)) + shift[flat[order]]
        padded = padded.tolist()
        w13, w2 = torch.cat([self.w1, self.w3], 1).to(COMPUTE), self.w2.to(COMPUTE)
        out = Experts.apply(Dispatch.apply(x, slot, sum(padded), k), w13, w2, padded)
        return (Collect.apply(out, slot, k) * weights[..., None]).sum(1)

    def forward(self, h, cos, sin, shapes, real):
        h = h + self.attention(rms_norm(h, self.input_norm), cos, sin, shapes)
        return h + self.experts(rms_norm(h, self.post_norm), real)


class TinyM2(torch.nn.Module):
    def __init__(self, c=CONFIG):
        super().__init__()
        self.c = c
        self.embed = weight(VOCAB_SIZE, c["hidden_size"], std=0.5)
        self.head = weight(VOCAB_SIZE, c["hidden_size"], std=0.02)
        self.layers = torch.nn.ModuleList(Layer(c) for _ in range(c["num_hidden_layers"]))
        self.norm = torch.nn.Parameter(torch.ones(c["hidden_size"]))
        steps = c["rope_theta"] ** (-torch.arange(0, c["rotary_dim"], 2) / c["rotary_dim"])
        angles = torch.arange(c["max_position_embeddings"])[:, None] * steps
        self.register_buffer("cos", angles.cos().to(COMPUTE)[:, None], persistent=False)
        self.register_buffer("sin", angles.sin().to(COMPUTE)[:, None], persistent=False)

    def forward(self, groups):
        """Mean loss over the chosen tokens of a batch."""
        shapes = [g[0].shape for g in groups]
        parts = [torch.cat([g[i].flatten() for g in groups]) for i in range(4)]
        ids, positions, learn, real = (F.pad(t, (0, -len(t) % (4 * ROW_BLOCK))) for t in parts)
        h = F.embedding(ids, self.embed).to(COMPUTE)
        cos, sin = self.cos[positions], self.sin[positions]
        for layer in self.layers:
            h = layer(h, cos, sin, shapes, real)
        picked = learn.nonzero().squeeze(-1)
        filler = -len(picked) % (2 * ROW_BLOCK)
        targets = F.pad(ids[picked + 1], (0, filler), value=-100)  # -100: not counted
        logits = rms_norm(h[F.pad(picked, (0, filler))], self.norm) @ self.head.to(COMPUTE).T
        return F.cross_entropy(logits.float(), targets)

    @torch.no_grad()
    def balance(self, rate):
        """Balancing without an auxiliary loss: busy experts lose a little selection bias, idle ones
        gain."""
        spread = []
        for layer in self.layers:
            load = layer.load / layer.load.mean()
            layer.bias += rate * torch.sign(1 - load)
            layer.bias -= layer.bias.mean()
            layer.load.zero_()
            spread.append(load.max().item())
        return max(spread)
