"""What comes out: tokens, events of a chat, answers."""

from __future__ import annotations

import json
from typing import Any, NamedTuple, Union


class TokenLogprob(NamedTuple):
    token: int
    logprob: float


class Token(NamedTuple):
    """One generated token. text: the characters that it completes, often none."""

    id: int
    text: str
    logprob: float | None = None
    top: list[TokenLogprob] | None = None  # the most likely ones, with n_logprobs


class Usage(NamedTuple):
    prompt_tokens: int
    completion_tokens: int


class Generation(NamedTuple):
    text: str
    ids: list[int]  # without the stop token
    finish_reason: str  # "stop" or "length"
    usage: Usage
    logprobs: list[Token] | None = None  # with n_logprobs


class ReasoningDelta(NamedTuple):
    text: str
    type: str = "reasoning"


class TextDelta(NamedTuple):
    text: str
    type: str = "text"


class ToolCallBegin(NamedTuple):
    call_index: int
    name: str
    type: str = "tool_call_begin"


class ToolCallArguments(NamedTuple):
    """A fragment: those of a call join to one JSON object."""

    call_index: int
    text: str
    type: str = "tool_call_arguments"


class ToolCallEnd(NamedTuple):
    """The call is complete; one that never gets this is to be dropped."""

    call_index: int
    type: str = "tool_call_end"


class Finish(NamedTuple):
    """The last event. reason: "stop", "length" or "tool_calls"; incomplete: it broke off in a tool call."""

    reason: str
    incomplete: bool
    usage: Usage
    type: str = "finish"


Event = Union[ReasoningDelta, TextDelta, ToolCallBegin, ToolCallArguments, ToolCallEnd, Finish]


class ToolCall(NamedTuple):
    name: str
    arguments: dict[str, Any]


class Answer(NamedTuple):
    content: str
    reasoning: str
    tool_calls: list[ToolCall]
    finish_reason: str
    usage: Usage

    @property
    def message(self) -> dict[str, Any]:
        """The message to append to the conversation."""
        message: dict[str, Any] = {"role": "assistant", "content": self.content}
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        if self.tool_calls:
            message["tool_calls"] = [
                {"type": "function", "function": {"name": call.name, "arguments": call.arguments}} for call in self.tool_calls
            ]
        return message


class AnswerBuilder:
    """Joins events to an answer."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, tuple[str, list[str]]] = {}
        self._complete: list[int] = []
        self._finish: Finish | None = None

    def add(self, event: Event) -> None:
        if isinstance(event, TextDelta):
            self._text.append(event.text)
        elif isinstance(event, ReasoningDelta):
            self._reasoning.append(event.text)
        elif isinstance(event, ToolCallBegin):
            self._calls[event.call_index] = (event.name, [])
        elif isinstance(event, ToolCallArguments):
            self._calls[event.call_index][1].append(event.text)
        elif isinstance(event, ToolCallEnd):
            self._complete.append(event.call_index)
        else:
            self._finish = event

    def answer(self) -> Answer:
        if self._finish is None:
            raise ValueError("the events end without a Finish")
        calls = [ToolCall(self._calls[i][0], json.loads("".join(self._calls[i][1]) or "{}")) for i in self._complete]
        return Answer("".join(self._text), "".join(self._reasoning), calls, self._finish.reason, self._finish.usage)
