"""The checkpoint folder, in the layout of the official models."""

import json
import shutil

import torch
from safetensors.torch import load_file, save_file

from .documents import TEMPLATE
from .model import CONFIG
from .vocabulary import NOT_SPECIAL, TOKEN_ID, VOCAB_SIZE


ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm")


def official_tensors(model):
    """Names and types of the official layout: BF16, but FP32 for the router."""

    def bf16(t):
        return t.detach().to(torch.bfloat16).contiguous().clone()

    def f32(t):
        return t.detach().float().contiguous().clone()

    tensors = {
        "model.embed_tokens.weight": bf16(model.embed), "lm_head.weight": bf16(model.head),
        "model.norm.weight": bf16(model.norm),
    }
    for n, layer in enumerate(model.layers):
        p = f"model.layers.{n}."
        tensors[p + "input_layernorm.weight"] = bf16(layer.input_norm)
        tensors[p + "post_attention_layernorm.weight"] = bf16(layer.post_norm)
        for name in ATTENTION:
            tensors[p + f"self_attn.{name}.weight"] = bf16(getattr(layer, name))
        tensors[p + "block_sparse_moe.gate.weight"] = f32(layer.gate)
        tensors[p + "block_sparse_moe.e_score_correction_bias"] = f32(layer.bias)
        for e in range(len(layer.bias)):
            for name in ("w1", "w2", "w3"):
                tensors[p + f"block_sparse_moe.experts.{e}.{name}.weight"] = bf16(
                    getattr(layer, name)[e]
                )
    return tensors


@torch.no_grad()
def load_tensors(model, folder):
    """The reverse of official_tensors."""
    tensors = load_file(str(folder / "model.safetensors"))
    model.embed.copy_(tensors["model.embed_tokens.weight"])
    model.head.copy_(tensors["lm_head.weight"])
    model.norm.copy_(tensors["model.norm.weight"])
    for n, layer in enumerate(model.layers):
        p = f"model.layers.{n}."
        layer.input_norm.copy_(tensors[p + "input_layernorm.weight"])
        layer.post_norm.copy_(tensors[p + "post_attention_layernorm.weight"])
        for name in ATTENTION:
            getattr(layer, name).copy_(tensors[p + f"self_attn.{name}.weight"])
        layer.gate.copy_(tensors[p + "block_sparse_moe.gate.weight"])
        layer.bias.copy_(tensors[p + "block_sparse_moe.e_score_correction_bias"])
        for name in ("w1", "w2", "w3"):
            parts = [
                tensors[p + f"block_sparse_moe.experts.{e}.{name}.weight"]
                for e in range(len(layer.bias))
            ]
            getattr(layer, name).copy_(torch.stack(parts))


def model_config(c):
    return {
        "architectures": ["MiniMaxM2ForCausalLM"],
        "attn_type_list": [1] * c["num_hidden_layers"],
        "bos_token_id": TOKEN_ID["]~!b["],
        "dtype": "bfloat16",
        "eos_token_id": TOKEN_ID["[e~["],
        "head_dim": c["head_dim"],
        "hidden_act": "silu",
        "hidden_size": c["hidden_size"],
        "intermediate_size": c["intermediate_size"],
        "max_position_embeddings": c["max_position_embeddings"],
        "model_type": "minimax_m2",
        "mtp_transformer_layers": 1,
        "num_attention_heads": c["num_attention_heads"],
        "num_experts_per_tok": c["num_experts_per_tok"],
        "num_hidden_layers": c["num_hidden_layers"],
        "num_key_value_heads": c["num_key_value_heads"],
        "num_local_experts": c["num_local_experts"],
        "num_mtp_modules": 0,
        "qk_norm_type": "per_layer",
        "rms_norm_eps": c["rms_norm_eps"],
        "rope_parameters": {
            "rope_type": "default", "rope_theta": c["rope_theta"],
            "partial_rotary_factor": c["rotary_dim"] / c["head_dim"],
        },
        "rope_theta": c["rope_theta"],
        "rotary_dim": c["rotary_dim"],
        "scoring_func": "sigmoid",
        "shared_intermediate_size": 0,
        "tie_word_embeddings": False,
        "transformers_version": "4.46.1",
        "use_cache": True,
        "use_mtp": False,
        "use_qk_norm": True,
        "use_routing_bias": True,
        "vocab_size": VOCAB_SIZE,
    }


def write_json(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def added_token(text):
    flags = dict.fromkeys(["lstrip", "normalized", "rstrip", "single_word"], False)
    return {"content": text, **flags, "special": text not in NOT_SPECIAL}


def write_text_files(out, c=CONFIG):
    """Everything of the checkpoint but the weights and tokenizer.json."""
    write_json(out / "config.json", model_config(c))
    write_json(
        out / "generation_config.json",
        {
            "bos_token_id": TOKEN_ID["]~b]"], "do_sample": True, "eos_token_id": TOKEN_ID["[e~["],
            "temperature": 1.0, "top_p": 0.95, "top_k": 40, "transformers_version": "4.46.1",
        },
    )
    write_json(
        out / "tokenizer_config.json",
        {
            "added_tokens_decoder": {str(i): added_token(text) for text, i in TOKEN_ID.items()},
            "add_prefix_space": False,
            "bos_token": "]~!b[",
            "clean_up_tokenization_spaces": False,
            "eos_token": "[e~[",
            "model_max_length": 40960000,
            "tokenizer_class": "GPT2Tokenizer",
            "unk_token": "]!d~[",
        },
    )
    template = out / "chat_template.jinja"
    if template.resolve() != TEMPLATE:
        shutil.copyfile(TEMPLATE, template)


def write_weights(model, out):
    part = out / "model.safetensors.part"
    save_file(official_tensors(model), str(part), metadata={"format": "pt"})
    part.chmod(0o644)
    part.rename(out / "model.safetensors")
