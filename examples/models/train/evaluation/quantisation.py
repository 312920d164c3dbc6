"""Quantisation: what the weights become after a round trip."""

from contextlib import contextmanager

import torch


def fp8_block(w, block=128):
    rows, cols = w.shape[-2:]
    tiles = w.float().unflatten(-1, (cols // block, block))
    tiles = tiles.unflatten(-3, (rows // block, block))
    scale = (tiles.abs().amax((-3, -1), keepdim=True) / 448).clamp_min(1e-12)
    return ((tiles / scale).to(torch.float8_e4m3fn).float() * scale).reshape(w.shape).to(w.dtype)


def int4_group(w, group=128):
    parts = w.float().unflatten(-1, (-1, group))
    scale = (parts.abs().amax(-1, keepdim=True) / 7).clamp_min(1e-12)
    return ((parts / scale).round().clamp(-8, 7) * scale).reshape(w.shape).to(w.dtype)


def nvfp4(w, group=16):
    levels = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    parts = w.float().unflatten(-1, (-1, group))
    whole = (parts.abs().amax() / (6 * 448)).clamp_min(1e-12)
    scale = (parts.abs().amax(-1, keepdim=True) / 6 / whole).clamp(2**-9, 448)
    scale = scale.to(torch.float8_e4m3fn).float() * whole
    codes = (parts / scale).abs()
    nearest = levels[(codes[..., None] - levels).abs().argmin(-1)]
    return (nearest * parts.sign() * scale).reshape(w.shape).to(w.dtype)


ATTENTION = ("q_proj.weight", "k_proj.weight", "v_proj.weight", "o_proj.weight")
SCHEMES = {  # name in the report: (scheme, experts only)
    "fp8_block128": (fp8_block, False), "w4a16_g128_rtn": (int4_group, False),
    "nvfp4_experts": (nvfp4, True),
}


@contextmanager
def quantised(model, scheme, experts_only):
    """Applies a scheme to the matrices that M2 checkpoints quantise, while the context lasts."""
    old = {}
    for name, p in model.named_parameters():
        expert = ".experts." in name
        if expert or (not experts_only and name.endswith(ATTENTION)):
            old[name] = p.data
            p.data = torch.stack([scheme(m) for m in p.data]) if expert else scheme(p.data)
    yield
    for name, p in model.named_parameters():
        if name in old:
            p.data = old[name]
