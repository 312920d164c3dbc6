"""mm2: inference for the MiniMax-M2 family, in this process.

    import mm2
    engine = mm2.load("examples/models/mm2-tiny").engine()
    print(engine.chat([{"role": "user", "content": "What is 47 + 38?"}]).content)

docs/python.md is the guide.
"""

from . import _core, checkpoint, kernels
from ._core import Cancellation, Detokenizer, Logits, Rows
from ._engine import Engine, EngineInfo, KVPool
from ._errors import (
    BudgetExceeded,
    Busy,
    Cancelled,
    CheckFailed,
    DeviceError,
    DeviceLost,
    Error,
    Forked,
    FormatError,
    InternalError,
    InvalidArgument,
    IOFailure,
    KVExhausted,
    NotFound,
    NumericError,
    OutOfMemory,
    StaleLogits,
    Unsupported,
)
from ._generation import Sampler
from ._info import abi_version, build_info, system_info, version
from ._model import Memory, Model, ModelInfo, Progress, load, tqdm_progress
from ._text import ChatTemplate, OutputParser, Prompt, Tokenizer
from ._types import (
    Answer,
    AnswerBuilder,
    Event,
    Finish,
    Generation,
    ReasoningDelta,
    TextDelta,
    Token,
    TokenLogprob,
    ToolCall,
    ToolCallArguments,
    ToolCallBegin,
    ToolCallEnd,
    Usage,
)

__version__ = version()
__all__ = [
    "Answer",
    "AnswerBuilder",
    "BudgetExceeded",
    "Busy",
    "Cancellation",
    "Cancelled",
    "ChatTemplate",
    "CheckFailed",
    "Detokenizer",
    "DeviceError",
    "DeviceLost",
    "Engine",
    "EngineInfo",
    "Error",
    "Event",
    "Finish",
    "Forked",
    "FormatError",
    "Generation",
    "IOFailure",
    "InternalError",
    "InvalidArgument",
    "KVExhausted",
    "KVPool",
    "Logits",
    "Memory",
    "Model",
    "ModelInfo",
    "NotFound",
    "NumericError",
    "OutOfMemory",
    "OutputParser",
    "Progress",
    "Prompt",
    "ReasoningDelta",
    "Rows",
    "Sampler",
    "StaleLogits",
    "TextDelta",
    "Token",
    "TokenLogprob",
    "Tokenizer",
    "ToolCall",
    "ToolCallArguments",
    "ToolCallBegin",
    "ToolCallEnd",
    "Unsupported",
    "Usage",
    "abi_version",
    "build_info",
    "checkpoint",
    "kernels",
    "load",
    "system_info",
    "tqdm_progress",
    "version",
]
