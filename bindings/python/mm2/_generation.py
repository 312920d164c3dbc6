"""Token after token on one sequence, until the model or a limit says stop."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Callable

from . import _core
from ._text import OutputParser, Prompt
from ._types import Event, Token, TokenLogprob, Usage

if TYPE_CHECKING:
    from ._engine import Engine

_LOGPROBS = {"raw": 0, "processed": 1}


class Sampler(_core.Sampler):
    """From a row of logits to a token; one for each sequence. Without options: the most likely token.

    n_vocab is the width of a row. options: temperature, top_k, top_p, min_p, repetition_penalty, frequency_penalty,
    presence_penalty, penalty_window, n_logprobs, n_tokens (ids from there on are never chosen), logit_bias ({id: bias}),
    seed, logprobs ("raw" or "processed"). edit_logits(array) may change a row before all that.
    """

    def __init__(self, n_vocab: int, *, edit_logits: Callable[[Any], object] | None = None, **options: Any) -> None:
        if "logprobs" in options:
            if options["logprobs"] not in _LOGPROBS:
                raise ValueError(f"logprobs is {options['logprobs']!r}, allowed are 'raw' and 'processed'")
            options["logprobs"] = _LOGPROBS[options["logprobs"]]
        super().__init__(n_vocab, options, edit_logits)


class StopStrings:
    """Cuts a stream of text before the first of some strings; holds back what may be the start of one."""

    def __init__(self, strings: Sequence[str]) -> None:
        self._strings = [text for text in strings if text]
        self._held = ""
        self.any = bool(self._strings)

    def push(self, text: str) -> tuple[str, bool]:
        """What is certain now, and whether a stop string came."""
        if not self._strings:
            return text, False
        self._held += text
        found = [at for at in (self._held.find(stop) for stop in self._strings) if at >= 0]
        if found:
            return self._held[: min(found)], True
        keep = max(self._overlap(stop) for stop in self._strings)
        certain = self._held[: len(self._held) - keep]
        self._held = self._held[len(certain) :]
        return certain, False

    def flush(self) -> str:
        held, self._held = self._held, ""
        return held

    def _overlap(self, stop: str) -> int:
        """Characters at the end that begin the stop string."""
        for n in range(min(len(stop) - 1, len(self._held)), 0, -1):
            if self._held.endswith(stop[:n]):
                return n
        return 0


class Run:
    """One sequence, from its prompt to its end. Iterating gives tokens; afterwards reason and usage tell how it ended."""

    def __init__(
        self,
        engine: Engine,
        prompt: Sequence[int],
        *,
        max_tokens: int | None = None,
        stop: str | Sequence[str] = (),
        cancellation: _core.Cancellation | None = None,
        edit_logits: Callable[[Any], object] | None = None,
        salt: int = 0,
        **sampling: Any,
    ) -> None:
        info, model = engine.info, engine.model
        self.prompt = list(prompt)
        if not self.prompt:
            raise ValueError("the prompt holds no token")
        room = min(info.kv_tokens, info.max_positions)
        if len(self.prompt) > room:
            raise ValueError(f"the prompt has {len(self.prompt)} tokens, a sequence of this engine holds {room}")
        if max_tokens is not None and max_tokens < 1:
            raise ValueError(f"max_tokens is {max_tokens}, at least 1 is needed")
        # The last token needs no place: nothing follows it.
        self._limit = min(room - len(self.prompt) + 1, max_tokens or room)
        self._engine, self._stop_ids, self._cancellation = engine, model.stop_ids, cancellation
        self._n_logprobs = sampling.get("n_logprobs")
        options: dict[str, Any] = {"n_tokens": model.tokenizer.n_tokens, "seed": int.from_bytes(os.urandom(7), "little")}
        options.update(model.sampling())
        options.update({name: value for name, value in sampling.items() if value is not None})
        self._sampler = Sampler(info.n_vocab, edit_logits=edit_logits, **options)
        self._text = model.tokenizer.stream()
        self._stops = StopStrings([stop] if isinstance(stop, str) else stop)
        self._salt = salt
        self.reason = "length"
        self.n_tokens = 0

    @property
    def usage(self) -> Usage:
        return Usage(len(self.prompt), self.n_tokens)

    def __iter__(self) -> Generator[Token, None, None]:
        seq = self._engine.new_seq()
        try:
            yield from self._tokens(seq)
        finally:
            self._engine.free(seq)

    def _begin(self, seq: int) -> tuple[list[int], int]:
        """Runs the prompt but for its last piece, which it returns with its position."""
        size, begin = self._engine.info.max_tokens_per_step, 0
        if self._engine.info.prefix_cache:
            begin = self._engine.prefix_match(seq, self.prompt, self._salt)
        while len(self.prompt) - begin > size:
            part = self.prompt[begin : begin + size]
            self._engine.step([_core.Rows(seq, part, 0, begin)], cancellation=self._cancellation)
            begin += size
        return self.prompt[begin:], begin

    def _tokens(self, seq: int) -> Iterator[Token]:
        # Every line here runs once for each token, beside a step that may take no more than a hundred microseconds.
        sampler, stops, stop_ids, limit = self._sampler, self._stops, self._stop_ids, self._limit
        advance, push, cancellation = self._engine._advance, self._text.push, self._cancellation
        logprobs, has_stops, make, stopped = self._n_logprobs is not None, stops.any, tuple.__new__, False
        ids, position = self._begin(seq)
        sampler.accept_prompt(self.prompt)
        picked = advance(seq, ids, position, sampler, logprobs, cancellation)
        position += len(ids)
        while True:
            token: int = picked[0] if logprobs else picked
            if token in stop_ids:
                self.reason = "stop"
                break
            self.n_tokens += 1
            text = push(token)
            if has_stops:
                text, stopped = stops.push(text)
            if logprobs:
                yield Token(token, text, picked[1], [TokenLogprob(*pair) for pair in picked[2]])
            else:
                yield make(Token, (token, text, None, None))
            if stopped:
                self.reason = "stop"
                return
            if self.n_tokens >= limit:
                break
            picked = advance(seq, token, position, sampler, logprobs, cancellation)
            position += 1
        rest, stopped = stops.push(self._text.flush())
        rest += "" if stopped else stops.flush()
        if rest:
            yield Token(-1, rest)  # text without a token: what was held back


def chat_events(run: Run, prompt: Prompt, parser_mode: str, tools: Sequence[Mapping[str, Any]] | None) -> Iterator[Event]:
    parser = OutputParser(mode=parser_mode, starts_in_think=prompt.starts_in_think, tools=tools)
    with contextlib.closing(iter(run)) as tokens:
        for token in tokens:
            if token.text:
                yield from parser.push(token.text)
    yield from parser.finish(run.reason, run.usage)
