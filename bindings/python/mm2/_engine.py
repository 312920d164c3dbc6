"""An engine: steps for hosts that schedule, and generate, stream and chat for those who do not."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, NamedTuple, Union

from . import _core
from ._async import in_thread
from ._generation import Run, chat_events
from ._model import DEVICES, ISAS, Memory, Model, choice, name_of
from ._text import Messages, Tools
from ._types import Answer, AnswerBuilder, Event, Generation, Token

Ids = Union[str, Sequence[int]]

_KV_DTYPES = {"auto": 0, "f32": 1, "bf16": 2, "fp8": 3}
_KV_SCALES = {"checkpoint": 0, "one": 1}
_ACTIVATIONS = {"auto": 0, "bf16": 1, "f32": 2, "int8": 3}
_DEVICE_KERNELS = {"fast": 0, "simple": 1}
_PREFIX_CACHE = {None: 0, False: 1, True: 2}
FIRST_OWN_SEQ = 1 << 30


class EngineInfo(NamedTuple):
    """Every option as the engine resolved it."""

    max_seqs: int
    max_tokens_per_step: int
    max_outputs_per_step: int
    kv_tokens: int
    kv_blocks: int
    max_positions: int
    kv_block_size: int
    kv_dtype: str
    activations: str
    prefix_cache: bool
    n_threads: int
    isa: str
    n_vocab: int
    device: str


class KVPool(NamedTuple):
    free_blocks: int
    total_blocks: int
    block_size: int


def engine_options(
    *,
    max_seqs: int = 0,
    max_tokens_per_step: int = 0,
    max_outputs_per_step: int = 0,
    kv_tokens: int = 0,
    kv_block_size: int = 0,
    kv_dtype: str = "auto",
    kv_scales: str = "checkpoint",
    activations: str = "auto",
    prefix_cache: bool | None = None,
    n_threads: int = 0,
    device_kernels: str = "fast",
    device_stream: int = 0,
) -> dict[str, int]:
    """Options in the numbers of mm2/engine.h; 0 is the default everywhere."""
    return {
        "max_seqs": max_seqs,
        "max_tokens_per_step": max_tokens_per_step,
        "max_outputs_per_step": max_outputs_per_step,
        "kv_tokens": kv_tokens,
        "kv_block_size": kv_block_size,
        "kv_dtype": choice("kv_dtype", kv_dtype, _KV_DTYPES),
        "kv_scales": choice("kv_scales", kv_scales, _KV_SCALES),
        "activations": choice("activations", activations, _ACTIVATIONS),
        "prefix_cache": choice("prefix_cache", prefix_cache, _PREFIX_CACHE),
        "n_threads": n_threads,
        "device_kernels": choice("device_kernels", device_kernels, _DEVICE_KERNELS),
        "device_stream": device_stream,
    }


class Engine(_core.Engine):
    """Buffers and a KV pool around a model; any thread may call any method.

    options: max_seqs, max_tokens_per_step, max_outputs_per_step, kv_tokens, kv_block_size, kv_dtype ("auto", "f32", "bf16", "fp8"),
    kv_scales ("checkpoint", "one"), activations ("auto", "bf16", "f32", "int8"), prefix_cache, n_threads,
    device_kernels ("fast", "simple": the bits of the CPU), device_stream (the address of a CUDA stream, as torch's cuda_stream; 0: one of
    the engine's own).

    Hosts that schedule call step with Rows of sequences that they number from 0. generate, stream and chat take numbers from 2**30 on,
    one each, and free it at their end. One step runs at a time: a second thread waits.
    """

    def __init__(self, model: Model, **options: Any) -> None:
        super().__init__(model, engine_options(**options))
        self.model = model
        self._new_seqs = itertools.count(FIRST_OWN_SEQ)

    @functools.cached_property
    def info(self) -> EngineInfo:
        raw = self._info()
        raw.update(
            kv_dtype=name_of(raw["kv_dtype"], _KV_DTYPES),
            activations=name_of(raw["activations"], _ACTIVATIONS),
            prefix_cache=raw["prefix_cache"] == _PREFIX_CACHE[True],
            isa=name_of(raw["isa"], ISAS),
            device=name_of(raw["device"], DEVICES),
        )
        return EngineInfo(**raw)

    def stats(self) -> dict[str, Any]:
        stats: dict[str, Any] = json.loads(self._stats())
        return stats

    def memory(self) -> Memory:
        return Memory(**self._memory())

    def kv_pool(self) -> KVPool:
        return KVPool(*self._kv_pool())

    def new_seq(self) -> int:
        """A sequence number that nobody had before, from 2**30 on."""
        return next(self._new_seqs)

    # One sequence from prompt to end.

    def stream(self, prompt: Ids, **options: Any) -> Iterator[Token]:
        """Tokens as they are generated.

        prompt: text (ordinary text, no special tokens) or ids. options: max_tokens, stop (strings that end the text and are not
        part of it), edit_logits, salt (of the tenant, with a prefix cache), and those of Sampler; what is not given comes from the checkpoint's generation_config.json.
        A last Token with id -1 carries text that was held back.
        """
        return iter(self._run(prompt, **options))

    def generate(self, prompt: Ids, **options: Any) -> Generation:
        """The same, at once."""
        run = self._run(prompt, **options)
        tokens = list(run)
        real = [token for token in tokens if token.id >= 0]
        return Generation(
            "".join(token.text for token in tokens),
            [token.id for token in real],
            run.reason,
            run.usage,
            real if options.get("n_logprobs") is not None else None,
        )

    def chat_stream(
        self,
        messages: Messages,
        *,
        tools: Tools | None = None,
        parser: str = "minimax_m2",
        template_kwargs: dict[str, Any] | None = None,
        **options: Any,
    ) -> Iterator[Event]:
        """Reasoning, text and tool calls of the answer as they come; the last event is Finish.

        messages and tools as in the OpenAI chat API; options as of stream; template_kwargs: enable_thinking=False, ...
        """
        prompt = self.model.chat_template.render(messages, self.model.tokenizer, tools=tools, **(template_kwargs or {}))
        return chat_events(Run(self, prompt.ids, **options), prompt, parser, tools)

    def chat(self, messages: Messages, **options: Any) -> Answer:
        """The whole answer; its message can be appended to messages."""
        builder = AnswerBuilder()
        for event in self.chat_stream(messages, **options):
            builder.add(event)
        return builder.answer()

    # The same for asyncio. Cancelling the task ends the step that runs and frees the sequence.

    def astream(self, prompt: Ids, **options: Any) -> AsyncIterator[Token]:
        return in_thread(lambda cancellation: self.stream(prompt, cancellation=cancellation, **options))

    def achat_stream(self, messages: Messages, **options: Any) -> AsyncIterator[Event]:
        return in_thread(lambda cancellation: self.chat_stream(messages, cancellation=cancellation, **options))

    async def achat(self, messages: Messages, **options: Any) -> Answer:
        builder = AnswerBuilder()
        async for event in self.achat_stream(messages, **options):
            builder.add(event)
        return builder.answer()

    def _run(self, prompt: Ids, **options: Any) -> Run:
        ids = self.model.tokenizer.encode(prompt) if isinstance(prompt, str) else prompt
        return Run(self, ids, **options)
