"""Tokenizer, chat template, parser of the model's output."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from . import _core
from ._paths import find_model
from ._types import Event, Finish, ReasoningDelta, TextDelta, ToolCallArguments, ToolCallBegin, ToolCallEnd, Usage

Messages = Sequence[Mapping[str, Any]]
Tools = Sequence[Mapping[str, Any]]


class Tokenizer(_core.Tokenizer):
    """Text to token ids and back. path: a model, or a tokenizer.json. Any number of threads.

    encode(text, special=False): without special, the spelling of a special token in the text is ordinary text.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(find_model(path))

    def describe(self) -> dict[str, Any]:
        description: dict[str, Any] = json.loads(self._describe())
        return description


class Prompt(NamedTuple):
    text: str
    ids: list[int]  # empty without a tokenizer
    starts_in_think: bool  # the answer begins inside the reasoning


class ChatTemplate(_core.ChatTemplate):
    """Messages to a prompt. path: a model, or a .jinja file. Any number of threads."""

    def __init__(self, path: str | os.PathLike[str] | None = None, *, source: str | None = None) -> None:
        if (path is None) == (source is None):
            raise TypeError("either path or source is needed")
        super().__init__("" if path is None else find_model(path), source)

    @classmethod
    def parse(cls, source: str) -> ChatTemplate:
        """The same from the template's text."""
        return cls(source=source)

    def describe(self) -> dict[str, Any]:
        description: dict[str, Any] = json.loads(self._describe())
        return description

    def render(
        self,
        messages: Messages,
        tokenizer: _core.Tokenizer | None = None,
        *,
        tools: Tools | None = None,
        add_generation_prompt: bool = True,
        **kwargs: Any,
    ) -> Prompt:
        """kwargs go to the template: enable_thinking=False, ..."""
        request: dict[str, Any] = {
            "messages": [_with_objects(message) for message in messages],
            "add_generation_prompt": add_generation_prompt,
            "now": datetime.now().strftime("%Y-%m-%dT%H:%M:%S"),
        }
        if tools:
            request["tools"] = list(tools)
        if kwargs:
            request["kwargs"] = kwargs
        text, ids = self._render(tokenizer, json.dumps(request, ensure_ascii=False))
        starts_in_think = text.endswith(("<think>\n", "<think>"))
        if starts_in_think and kwargs.get("enable_thinking") is False:
            # A template without that switch: reasoning that is over before it began has the same effect.
            closing = "</think>\n\n"
            text += closing
            if tokenizer is not None:
                ids += tokenizer.encode(closing, special=True)
            starts_in_think = False
        return Prompt(text, ids, starts_in_think)


def _with_objects(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Arguments of calls as objects: the OpenAI API has them as JSON text."""
    calls = message.get("tool_calls")
    if not calls or all(not isinstance(call.get("function", call).get("arguments"), str) for call in calls):
        return message
    converted = []
    for call in calls:
        function = dict(call.get("function", call))
        if isinstance(function.get("arguments"), str):
            function["arguments"] = json.loads(function["arguments"] or "{}")
        converted.append({**call, "function": function} if "function" in call else function)
    return {**message, "tool_calls": converted}


_MODES = {"minimax_m2": 0, "minimax_m2_append_think": 1, "minimax_m2_optthink": 2}
_REASONING, _TEXT, _CALL_BEGIN, _CALL_ARGUMENTS, _CALL_END, _FINISH = range(1, 7)


class OutputParser:
    """A model's output to events. However the text is cut, the events join to the same answer."""

    def __init__(self, *, mode: str = "minimax_m2", starts_in_think: bool = False, tools: Tools | None = None) -> None:
        if mode not in _MODES:
            raise ValueError(f"mode is {mode!r}, allowed are {', '.join(_MODES)}")
        tools_json = json.dumps(list(tools), ensure_ascii=False) if tools else None
        self._parser = _core.Parser(_MODES[mode], starts_in_think, tools_json)
        self._has_calls = False

    def push(self, text: str | bytes) -> list[Event]:
        return [self._event(*raw) for raw in self._parser.push(text)]

    def push_ids(self, tokenizer: _core.Tokenizer, ids: int | Sequence[int]) -> list[Event]:
        """The same from token ids: one of them, or several. A character that is not complete waits for the next ids."""
        return [self._event(*raw) for raw in self._parser.push_ids(tokenizer, ids)]

    def finish(self, reason: str = "stop", usage: Usage = Usage(0, 0)) -> list[Event]:
        """The rest; the last event is Finish with this reason, or with "tool_calls" where a call is complete."""
        return [self._event(*raw, reason, usage) for raw in self._parser.finish()]

    def reset(self) -> None:
        """Ready for another output."""
        self._parser.reset()
        self._has_calls = False

    def _event(self, kind: int, index: int, incomplete: bool, data: str, reason: str = "", usage: Usage = Usage(0, 0)) -> Event:
        if kind == _TEXT:
            return TextDelta(data)
        if kind == _REASONING:
            return ReasoningDelta(data)
        if kind == _CALL_BEGIN:
            return ToolCallBegin(index, data)
        if kind == _CALL_ARGUMENTS:
            return ToolCallArguments(index, data)
        if kind == _CALL_END:
            self._has_calls = True
            return ToolCallEnd(index)
        return Finish("tool_calls" if self._has_calls and reason == "stop" else reason, incomplete, usage)
