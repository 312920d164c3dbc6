"""Answers of a model, by transformers."""

import sys

import torch

from tiny.documents import chat_template
from tiny.vocabulary import TOKEN_ID, Decoder
from transformers import AutoModelForCausalLM, AutoTokenizer

from .judging import END

GREEDY = dict(do_sample=False, temperature=None, top_p=None, top_k=None)
END_ID = TOKEN_ID[END]


class Subject:
    """The model under test, with its tokenizer and the chat template."""

    def __init__(self, folder):
        self.template = chat_template()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
        self.decode = Decoder(folder / "tokenizer.json")

    def encode(self, text):
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    @torch.no_grad()
    def answer_ids(self, prompts, batch=64, limit=260, sampling=GREEDY):
        """The continuations of the prompts (token ids), up to and with the end of the turn."""
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        out = [None] * len(prompts)
        for start in range(0, len(order), batch):
            part = order[start : start + batch]
            width = max(len(prompts[i]) for i in part)
            gaps = [width - len(prompts[i]) for i in part]
            result = self.model.generate(
                input_ids=torch.tensor([[0] * gap + prompts[i] for gap, i in zip(gaps, part)]),
                attention_mask=torch.tensor([[0] * gap + [1] * (width - gap) for gap in gaps]),
                max_new_tokens=limit,
                pad_token_id=0,
                eos_token_id=END_ID,
                **sampling,
            )
            for row, i in enumerate(part):
                ids = result[row, width:].tolist()
                out[i] = ids[: ids.index(END_ID) + 1] if END_ID in ids else ids
            sys.stderr.write(f"\r{start + len(part)}/{len(order)} answers   ")
            sys.stderr.flush()
        sys.stderr.write("\n")
        return out

    def answer(self, prompts, **options):
        """The same as texts, from texts."""
        ids = self.answer_ids([self.encode(p) for p in prompts], **options)
        return [self.decode(i) for i in ids]
